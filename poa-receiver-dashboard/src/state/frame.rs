//! Frames of the feed, as clients of POA Backend understand them.

use bytes::Bytes;
use poa_core::AgentId;

/// The frame for an agent that became inactive, exactly as in POA Backend.
const INACTIVE: &str = r#"{"type":"statistics","body":{"active":false,"gasPrice":null,"hashrate":0,"mining":false,"peers":0,"syncing":null,"uptime":null}}"#;

/// A metric: `{"agent_id": …, "data": …}`.
pub(crate) fn metric(agent: &AgentId, data: &str) -> Bytes {
    let id = serde_json::Value::from(agent.as_str());
    Bytes::from(format!(r#"{{"agent_id":{id},"data":{data}}}"#))
}

/// An agent became inactive.
pub(crate) fn inactive(agent: &AgentId) -> Bytes {
    metric(agent, INACTIVE)
}

/// Reports the number of this agent's metrics that were dropped for this client. Clients of POA Backend do not know
/// its type and ignore it.
pub(crate) fn missed(agent: &AgentId, count: u64) -> Bytes {
    metric(agent, &format!(r#"{{"type":"missed","body":{{"count":{count}}}}}"#))
}
