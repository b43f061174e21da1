//! All agents, and the clients that are notified of them.

mod agent;
mod agents;
pub(crate) mod frame;
mod history;
mod unsaved;
mod view;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use poa_core::{Activity, AgentId, Message, Timestamp};

use crate::feed::Queue;
use crate::page::Page;
use crate::read::{INFORMATION, Reading, STATISTICS};
pub(crate) use agents::{Agents, Bounds};
pub(crate) use history::Columns;
pub(crate) use unsaved::{Kept, Row, Rows, Saved};
pub(crate) use view::{Condition, Live, View};

/// Shared by the receiver, which writes, and by the connections, which read. Cloning is cheap.
///
/// The lock is held only briefly, and never across an await.
#[derive(Clone, Debug)]
pub(crate) struct State(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    agents: Agents,
    feeds: HashMap<u64, Arc<Queue>>,
    /// The number of clients so far.
    clients: u64,
    /// The number of metrics since the start.
    metrics: u64,
}

impl State {
    /// Restores the agents that an earlier process has saved.
    pub(crate) fn new(bounds: Bounds, saved: Vec<Saved>) -> Self {
        let agents = Agents::restore(bounds, saved, Timestamp::now());
        Self(Arc::new(Mutex::new(Inner { agents, feeds: HashMap::new(), clients: 0, metrics: 0 })))
    }

    /// Stores a metric and sends it to all clients.
    pub(crate) fn metric(&self, message: &Message, reading: Reading<'_>) {
        let inner = &mut *self.0.lock();
        inner.metrics += 1;
        let id = message.agent_id();
        let wanted = matches!(&*reading.kind, INFORMATION | STATISTICS);
        let frame = (wanted || !inner.feeds.is_empty()).then(|| frame::metric(id, &reading.json));
        if let Some(frame) = &frame {
            let kind = kind(message.data_type().name(), &reading.kind);
            inner.tell(id, kind, frame);
        }
        inner.agents.metric(message, reading, frame);
        inner.forget_excess();
    }

    /// Records that agents became active.
    pub(crate) fn active(&self, changes: &[Activity]) {
        let inner = &mut *self.0.lock();
        for change in changes {
            inner.agents.enter(&change.agent_id, Condition::Active, change.since);
        }
        inner.forget_excess();
    }

    /// Records that agents became inactive, and notifies all clients once.
    pub(crate) fn inactive(&self, changes: &[Activity]) {
        let inner = &mut *self.0.lock();
        for change in changes {
            if inner.agents.enter(&change.agent_id, Condition::Inactive, change.since) {
                let frame = frame::inactive(&change.agent_id);
                inner.tell(&change.agent_id, kind(CHAIN, STATISTICS), &frame);
                inner.agents.lay_down(&change.agent_id, frame);
            }
        }
        inner.forget_excess();
    }

    /// Adds a client of the feed; returns its queue and its number. The last values of agents come first.
    pub(crate) fn join(&self, limit: usize) -> (u64, Arc<Queue>) {
        let inner = &mut *self.0.lock();
        let queue = Arc::new(Queue::new(limit, inner.agents.ids().cloned()));
        inner.clients += 1;
        inner.feeds.insert(inner.clients, queue.clone());
        (inner.clients, queue)
    }

    /// Up to `most` of the frames that a client gets next, at least one; a few more while last values are sent. Cancel
    /// safe: no frame is removed unless it is returned.
    pub(crate) async fn next(&self, queue: &Queue, most: usize) -> Vec<Bytes> {
        while queue.has_untold() {
            let frames = self.last_words(queue);
            if !frames.is_empty() {
                return frames;
            }
        }
        queue.next(most).await
    }

    /// The last values of the next few agents whose values this client does not have yet.
    fn last_words(&self, queue: &Queue) -> Vec<Bytes> {
        // One lock for both: otherwise a newer metric could overtake the last values.
        let inner = self.0.lock();
        let agents = queue.take_untold(TOLD_AT_ONCE);
        let frames = agents.iter().flat_map(|id| inner.agents.last_words(id));
        frames.map(|(_, frame)| frame.clone()).collect()
    }

    /// Removes a client of the feed.
    pub(crate) fn leave(&self, client: u64) {
        self.0.lock().feeds.remove(&client);
    }

    /// The changes of the page after this one; `None` for the complete state.
    pub(crate) fn page(&self, since: Option<u64>) -> Page {
        let inner = self.0.lock();
        Page::of(&inner.agents, since, inner.metrics)
    }

    /// The recent figures of an agent, if it is known.
    pub(crate) fn history(&self, agent: &str) -> Option<Columns> {
        self.0.lock().agents.history(agent)
    }

    /// The unsaved changes, if any of them is urgent or `all` are wanted. They count as saved from now on.
    pub(crate) fn take_unsaved(&self, all: bool) -> Option<Rows> {
        self.0.lock().agents.take_unsaved(all)
    }

    /// Takes back changes that could not be saved.
    pub(crate) fn not_saved(&self, rows: &Rows) {
        self.0.lock().agents.not_saved(rows);
    }

    /// Removes agents that were not heard for too long.
    pub(crate) fn forget_gone(&self) {
        let inner = &mut *self.0.lock();
        let gone = inner.agents.forget_gone(Timestamp::now());
        inner.forget(&gone);
    }
}

/// The number of agents whose last values are sent to a new client in one step.
const TOLD_AT_ONCE: usize = 16;

/// The data type of the final `statistics` of an agent that became inactive.
const CHAIN: &str = "ethereum_metrics";

/// Identifies metrics of one agent and type. If two types share a number, they only replace each other.
fn kind(data_type: &str, kind: &str) -> u64 {
    use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
    BuildHasherDefault::<DefaultHasher>::default().hash_one((data_type, kind))
}

impl Inner {
    /// Sends a frame to all clients of the feed, after the agent's last values where these were not sent yet.
    fn tell(&self, agent: &AgentId, kind: u64, frame: &Bytes) {
        for queue in self.feeds.values() {
            if queue.take_if_untold(agent) {
                for (data_type, last) in self.agents.last_words(agent) {
                    let kind = match data_type {
                        Some(data_type) => self::kind(data_type, STATISTICS),
                        None => self::kind("", INFORMATION),
                    };
                    queue.push(agent, kind, last);
                }
            }
            queue.push(agent, kind, frame);
        }
    }

    fn forget_excess(&mut self) {
        let gone = self.agents.forget_excess();
        self.forget(&gone);
    }

    fn forget(&self, gone: &[AgentId]) {
        for queue in self.feeds.values() {
            gone.iter().for_each(|agent| queue.forget(agent));
        }
    }
}

#[cfg(test)]
mod tests;
