//! All agents that have sent samples, and the messages made of them.

use std::collections::HashMap;
use std::net::IpAddr;

use poa_core::{AgentId, DataType, Draft, Payload};

use crate::aggregate::Aggregate;
use crate::line::Line;

/// The most agents. UDP does not prove its sender, so the number of addresses has a limit.
const AGENTS: usize = 1000;
/// The flushes without a sample after which an agent is removed.
const IDLE_FLUSHES: u32 = 60;

/// The aggregates by the address of the agent.
#[derive(Debug, Default)]
pub(crate) struct Agents(HashMap<IpAddr, Agent>);

#[derive(Debug, Default)]
struct Agent {
    aggregate: Aggregate,
    /// A sample was added since the last flush.
    changed: bool,
    idle: u32,
}

impl Agents {
    /// Adds a line; false when a limit does not allow it.
    pub(crate) fn add(&mut self, from: IpAddr, line: Line) -> bool {
        if self.0.len() >= AGENTS && !self.0.contains_key(&from) {
            return false;
        }
        let agent = self.0.entry(from).or_default();
        agent.changed = true;
        agent.aggregate.add(line)
    }

    /// Passes a message for each agent with new samples to `send`. Samples that it does not accept stay for the next flush.
    pub(crate) fn flush(&mut self, data_type: &DataType, mut send: impl FnMut(Draft) -> bool) {
        for (address, agent) in &mut self.0 {
            if !agent.changed {
                agent.idle += 1;
            } else if draft(*address, data_type, &agent.aggregate).is_none_or(&mut send) {
                agent.aggregate.reset();
                (agent.changed, agent.idle) = (false, 0);
            }
        }
        self.0.retain(|_, agent| agent.idle < IDLE_FLUSHES);
    }
}

/// The message of an agent. Numbers, texts and an address have no form that could be refused.
fn draft(address: IpAddr, data_type: &DataType, aggregate: &Aggregate) -> Option<Draft> {
    let agent = AgentId::new(address.to_string()).ok()?;
    Some(Draft::new(agent, data_type.clone(), Payload::json(aggregate).ok()?))
}
