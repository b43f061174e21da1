//! Changes that are not saved to disk yet.

use std::collections::HashMap;

use bytes::Bytes;
use poa_core::{AgentId, Timestamp};

use super::agent::Agent;
use super::view::View;

/// One agent as it was saved.
#[derive(Debug)]
pub(crate) struct Saved {
    pub(crate) id: AgentId,
    pub(crate) view: View,
    pub(crate) kept: Vec<Kept>,
}

/// A frame that is kept of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// The data type of statistics; empty for the information.
    pub(crate) data_type: String,
    pub(crate) frame: Bytes,
}

/// The agents to save; `None` for an agent that was removed.
pub(crate) type Rows = Vec<(AgentId, Option<Row>)>;

/// The changes of one agent.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) view: View,
    /// All kept frames in their order; `None` when they have not changed.
    pub(crate) kept: Option<Vec<Kept>>,
}

impl Saved {
    /// The agent, as far as it is still known after a restart.
    pub(super) fn into_agent(self, now: Timestamp) -> (AgentId, Agent) {
        let mut agent = Agent { view: self.view.after_restart(now), ..Agent::default() };
        for Kept { data_type, frame } in self.kept {
            if data_type.is_empty() {
                agent.information = Some(frame);
            } else {
                agent.keep_statistics(&data_type, frame);
            }
        }
        (self.id, agent)
    }
}

/// The agents that changed since they were saved.
#[derive(Debug, Default)]
pub(crate) struct Unsaved {
    /// Whether the frames of the agent changed, besides its row.
    agents: HashMap<AgentId, bool>,
    /// A change that an agent does not repeat.
    urgent: bool,
}

impl Unsaved {
    /// Its description, which it may never send again.
    pub(super) fn information(&mut self, id: &AgentId) {
        self.urgent = true;
        self.statistics(id);
    }

    pub(super) fn statistics(&mut self, id: &AgentId) {
        self.agents.insert(id.clone(), true);
    }

    pub(super) fn view(&mut self, id: &AgentId) {
        self.agents.entry(id.clone()).or_default();
    }

    /// It became active or inactive.
    pub(super) fn state(&mut self, id: &AgentId) {
        self.urgent = true;
        self.view(id);
    }

    pub(super) fn gone(&mut self, id: &AgentId) {
        self.agents.insert(id.clone(), true);
    }

    /// The changes to save, unless all of them can wait and `all` is false.
    pub(super) fn take(&mut self, all: bool, known: &HashMap<AgentId, Agent>) -> Option<Rows> {
        if self.agents.is_empty() || !(all || self.urgent) {
            return None;
        }
        self.urgent = false;
        let agents = std::mem::take(&mut self.agents);
        let row = |(id, frames): (AgentId, bool)| {
            let row = known.get(&id).map(|agent| Row::of(agent, frames));
            (id, row)
        };
        Some(agents.into_iter().map(row).collect())
    }

    /// Takes back changes that could not be saved. They are no longer urgent: the disk has a fault.
    pub(super) fn restore(&mut self, rows: &Rows) {
        for (id, row) in rows {
            let frames = row.as_ref().is_none_or(|row| row.kept.is_some());
            *self.agents.entry(id.clone()).or_default() |= frames;
        }
    }
}

impl Row {
    fn of(agent: &Agent, frames: bool) -> Self {
        let kept = frames.then(|| {
            let kept = |data_type: &str, frame: &Bytes| Kept {
                data_type: data_type.to_owned(),
                frame: frame.clone(),
            };
            let information = agent.information.iter().map(|frame| kept("", frame));
            let statistics = agent.statistics.iter().map(|(name, frame)| kept(name, frame));
            information.chain(statistics).collect()
        });
        Self { view: agent.view.clone(), kept }
    }
}
