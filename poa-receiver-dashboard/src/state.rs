//! All agents, and who is told of them.

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
/// The lock is held for moments only, and never while anything is waited for.
#[derive(Clone, Debug)]
pub(crate) struct State(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    agents: Agents,
    feeds: HashMap<u64, Arc<Queue>>,
    /// Clients there have been so far.
    clients: u64,
    /// Metrics there have been since the start.
    metrics: u64,
}

impl State {
    /// Goes on with what an earlier process has saved.
    pub(crate) fn new(bounds: Bounds, saved: Vec<Saved>) -> Self {
        let agents = Agents::restore(bounds, saved, Timestamp::now());
        Self(Arc::new(Mutex::new(Inner { agents, feeds: HashMap::new(), clients: 0, metrics: 0 })))
    }

    /// Takes in a metric and tells everybody.
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

    /// Takes in that agents became active.
    pub(crate) fn active(&self, changes: &[Activity]) {
        let inner = &mut *self.0.lock();
        for change in changes {
            inner.agents.enter(&change.agent_id, Condition::Active, change.since);
        }
        inner.forget_excess();
    }

    /// Takes in that agents became inactive, and tells everybody once.
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

    /// A new client of the feed: its queue, and its number. What agents said last comes first.
    pub(crate) fn join(&self, limit: usize) -> (u64, Arc<Queue>) {
        let inner = &mut *self.0.lock();
        let queue = Arc::new(Queue::new(limit, inner.agents.ids().cloned()));
        inner.clients += 1;
        inner.feeds.insert(inner.clients, queue.clone());
        (inner.clients, queue)
    }

    /// Up to `most` of the frames that a client gets next, at least one; a few more while it is told what agents said last.
    /// Cancel safe: nothing is taken unless it is given.
    pub(crate) async fn next(&self, queue: &Queue, most: usize) -> Vec<Bytes> {
        while queue.has_untold() {
            let frames = self.last_words(queue);
            if !frames.is_empty() {
                return frames;
            }
        }
        queue.next(most).await
    }

    /// What the next few agents said last that this client was not told of.
    fn last_words(&self, queue: &Queue) -> Vec<Bytes> {
        // One lock for both: what an agent says in between would come before its last words.
        let inner = self.0.lock();
        let agents = queue.take_untold(TOLD_AT_ONCE);
        let frames = agents.iter().flat_map(|id| inner.agents.last_words(id));
        frames.map(|(_, frame)| frame.clone()).collect()
    }

    /// A client of the feed has gone.
    pub(crate) fn leave(&self, client: u64) {
        self.0.lock().feeds.remove(&client);
    }

    /// What changed on the page since this change; `None` for all there is.
    pub(crate) fn page(&self, since: Option<u64>) -> Page {
        let inner = self.0.lock();
        Page::of(&inner.agents, since, inner.metrics)
    }

    /// The recent figures of an agent, if it is known.
    pub(crate) fn history(&self, agent: &str) -> Option<Columns> {
        self.0.lock().agents.history(agent)
    }

    /// What was not saved yet, if any of it cannot wait or `all` of it is wanted. It counts as saved from now on.
    pub(crate) fn take_unsaved(&self, all: bool) -> Option<Rows> {
        self.0.lock().agents.take_unsaved(all)
    }

    /// Takes back what could not be saved.
    pub(crate) fn not_saved(&self, rows: &Rows) {
        self.0.lock().agents.not_saved(rows);
    }

    /// Forgets who was not heard for too long.
    pub(crate) fn forget_gone(&self) {
        let inner = &mut *self.0.lock();
        let gone = inner.agents.forget_gone(Timestamp::now());
        inner.forget(&gone);
    }
}

/// Of how many agents a new client is told at once.
const TOLD_AT_ONCE: usize = 16;

/// The data type whose statistics an agent that became inactive is told to have.
const CHAIN: &str = "ethereum_metrics";

/// What makes metrics of one agent alike. Two kinds that fall on one number only give way to each other.
fn kind(data_type: &str, kind: &str) -> u64 {
    use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
    BuildHasherDefault::<DefaultHasher>::default().hash_one((data_type, kind))
}

impl Inner {
    /// Tells all clients of the feed. Who was not told yet what the agent said last is told that before.
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
