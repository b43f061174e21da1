//! The last known state of each agent.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use poa_core::{AgentId, Timestamp};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use crate::link::{Opening, Params};
use crate::table::{ACTIVITY, Names};

/// The first and the last time at which an agent was seen in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
}

/// Agents by name, so that two hosts lock their rows in the same order and never deadlock.
pub(crate) type Agents = BTreeMap<AgentId, Seen>;

/// Sets the state of agents, and returns those that are in it afterwards.
///
/// A state that does not change keeps its `since`, and an older change never overwrites a newer one; so repeating a change is harmless.
pub(crate) fn statement(names: &Names) -> String {
    let table = names.of(ACTIVITY);
    format!(
        "WITH changed AS (
            INSERT INTO {table} AS known (agent_id, active, since)
            SELECT agent, $2, since FROM unnest($1::text[], $3::timestamptz[]) AS told (agent, since)
            ON CONFLICT (agent_id) DO UPDATE SET active = excluded.active, since = excluded.since
            WHERE known.active <> excluded.active AND known.since <= excluded.since
            RETURNING agent_id)
        SELECT agent_id FROM changed UNION ALL SELECT agent_id FROM {table} WHERE active = $2 AND agent_id = ANY($1)"
    )
}

/// Sets the state of these agents; returns those that are in it afterwards. They must be ordered by name.
pub(crate) async fn upsert(
    client: &Client,
    opening: &Opening,
    statement: &str,
    agents: &[(&AgentId, Timestamp)],
    active: bool,
) -> Result<Vec<String>, Error> {
    let (names, since): (Vec<_>, Vec<_>) =
        agents.iter().map(|(agent, since)| (agent.as_str(), time(*since))).unzip();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let params: Params<'_> =
        &[(&names, Type::TEXT_ARRAY), (&active, Type::BOOL), (&since, Type::TIMESTAMPTZ_ARRAY)];
    let rows = opening.query(client, statement, params).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

pub(crate) fn time(timestamp: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(timestamp.as_micros())
}
