//! All known agents.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use poa_core::{AgentId, Message, Timestamp};

use super::agent::{Agent, KEPT};
use super::history::Columns;
use super::unsaved::{Rows, Saved, Unsaved};
use super::view::{Condition, View, millis};
use crate::read::{INFORMATION, Reading, STATISTICS};

/// The limits on kept agents.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) agents: usize,
    pub(crate) forget_after: Duration,
}

/// All agents. Every change has a number, so that a page is sent only the changes it does not know yet.
#[derive(Debug)]
pub(crate) struct Agents {
    bounds: Bounds,
    known: HashMap<AgentId, Agent>,
    unsaved: Unsaved,
    /// The number of the last change.
    change: u64,
    /// The agents that were removed last, each with the number of that change.
    gone: VecDeque<(u64, AgentId)>,
}

/// The number of removed agents that are remembered for pages; a page that missed more gets the complete state.
const GONE: usize = 1024;

/// The share of agents that is removed at the limit, so that it is not done for each new agent.
const EXCESS: usize = 20;

impl Agents {
    /// Restores the agents that an earlier process has saved.
    pub(crate) fn restore(bounds: Bounds, saved: Vec<Saved>, now: Timestamp) -> Self {
        let unsaved = Unsaved::default();
        let mut agents =
            Self { bounds, known: HashMap::new(), unsaved, change: 1, gone: VecDeque::new() };
        for saved in saved {
            let (id, mut agent) = saved.into_agent(now);
            (agent.changed, agent.introduced) = (agents.change, agents.change);
            agents.known.insert(id, agent);
        }
        agents
    }

    pub(super) fn metric(&mut self, message: &Message, reading: Reading<'_>, frame: Option<Bytes>) {
        let (id, at) = (message.agent_id(), message.received_at());
        let change = self.change + 1;
        let agent = self.entry(id, at);
        agent.changed = change;
        let is_back = agent.view.hear(at);
        if agent.view.apply(at, reading.update) {
            agent.introduced = change;
        }
        agent.history.note(at, &agent.view.live);
        match (&*reading.kind, frame) {
            (INFORMATION, frame) => {
                agent.information = frame.filter(|frame| frame.len() <= KEPT);
                self.unsaved.information(id);
            }
            (STATISTICS, Some(frame)) => {
                agent.keep_statistics(message.data_type().name(), frame);
                self.unsaved.statistics(id);
            }
            _ => self.unsaved.view(id),
        }
        if is_back {
            self.unsaved.state(id);
        }
        self.change = change;
    }

    /// Sets the state of an agent; false when it was in this state already.
    pub(super) fn enter(&mut self, id: &AgentId, state: Condition, since: Timestamp) -> bool {
        let change = self.change + 1;
        let agent = self.entry(id, since);
        if !agent.view.enter(state, since) {
            return false;
        }
        agent.changed = change;
        if state == Condition::Inactive {
            agent.history.fall_silent(since);
        }
        self.change = change;
        self.unsaved.state(id);
        true
    }

    /// For clients of the feed, the final frame of an inactive agent is its last value; its row on the page has no
    /// load and no peers.
    pub(super) fn lay_down(&mut self, id: &AgentId, frame: Bytes) {
        let Some(agent) = self.known.get_mut(id) else { return };
        agent.keep_statistics(super::CHAIN, frame);
        let live = &mut agent.view.live;
        (live.system, live.latency, live.chain) = Default::default();
        self.unsaved.statistics(id);
    }

    fn entry(&mut self, id: &AgentId, at: Timestamp) -> &mut Agent {
        // Looked up twice only for a new agent: clones of an id are not free.
        if !self.known.contains_key(id) {
            let (view, introduced) = (View::new(at), self.change + 1);
            self.known.insert(id.clone(), Agent { view, introduced, ..Agent::default() });
            self.unsaved.state(id);
        }
        self.known.entry(id.clone()).or_default()
    }

    /// All of them, in no particular order.
    pub(super) fn ids(&self) -> impl Iterator<Item = &AgentId> {
        self.known.keys()
    }

    /// The frames of an agent for new clients of the feed, with their data types; the information has none.
    pub(super) fn last_words(&self, id: &AgentId) -> impl Iterator<Item = (Option<&str>, &Bytes)> {
        self.known.get(id).into_iter().flat_map(Agent::last_words)
    }

    pub(super) fn history(&self, agent: &str) -> Option<Columns> {
        self.known.get(agent).map(|agent| agent.history.columns())
    }

    pub(super) fn take_unsaved(&mut self, all: bool) -> Option<Rows> {
        self.unsaved.take(all, &self.known)
    }

    pub(super) fn not_saved(&mut self, rows: &Rows) {
        self.unsaved.restore(rows);
    }

    /// At the limit, removes the agents not heard for longest.
    pub(super) fn forget_excess(&mut self) -> Vec<AgentId> {
        if self.known.len() <= self.bounds.agents {
            return Vec::new();
        }
        let surplus = self.known.len() - self.bounds.agents + self.bounds.agents / EXCESS;
        let mut seen: Vec<_> = self.known.iter().map(|(id, agent)| (agent.view.seen, id)).collect();
        seen.select_nth_unstable(surplus - 1);
        let gone = seen[..surplus].iter().map(|(_, id)| (*id).clone()).collect();
        self.forget(gone)
    }

    /// Removes agents that are not active and were not heard for too long.
    pub(super) fn forget_gone(&mut self, now: Timestamp) -> Vec<AgentId> {
        let longest = u64::try_from(self.bounds.forget_after.as_millis()).unwrap_or(u64::MAX);
        let limit = millis(now).saturating_sub(longest);
        let gone = self
            .known
            .iter()
            .filter(|(_, agent)| agent.view.state != Condition::Active && agent.view.seen < limit);
        let gone = gone.map(|(id, _)| id.clone()).collect();
        self.forget(gone)
    }

    fn forget(&mut self, ids: Vec<AgentId>) -> Vec<AgentId> {
        for id in &ids {
            self.change += 1;
            self.known.remove(id);
            self.unsaved.gone(id);
            self.gone.push_back((self.change, id.clone()));
        }
        let surplus = self.gone.len().saturating_sub(GONE);
        self.gone.drain(..surplus);
        ids
    }

    /// The number of the last change.
    pub(crate) fn change(&self) -> u64 {
        self.change
    }

    /// The agents removed after this change; `None` when that is no longer known.
    pub(crate) fn gone_since(&self, since: u64) -> Option<Vec<AgentId>> {
        let complete = self.gone.len() < GONE || self.gone.front()?.0 <= since;
        let gone = self.gone.iter().filter(|(change, _)| *change > since);
        complete.then(|| gone.map(|(_, id)| id.clone()).collect())
    }

    /// The agents whose row changed after this change, and whether their description did, too.
    pub(crate) fn changed_since(
        &self,
        since: u64,
    ) -> impl Iterator<Item = (&AgentId, &View, bool)> {
        let changed = self.known.iter().filter(move |(_, agent)| agent.changed > since);
        changed.map(move |(id, agent)| (id, &agent.view, agent.introduced > since))
    }
}
