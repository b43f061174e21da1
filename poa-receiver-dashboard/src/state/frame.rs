//! Frames of the feed: what clients of the original understand.

use bytes::Bytes;
use poa_core::AgentId;

/// What is said of an agent that became inactive, word for word what the original says.
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

/// So many metrics of this agent were left out for this client. Of a type that no other client knows, and so passes over.
pub(crate) fn missed(agent: &AgentId, count: u64) -> Bytes {
    metric(agent, &format!(r#"{{"type":"missed","body":{{"count":{count}}}}}"#))
}
