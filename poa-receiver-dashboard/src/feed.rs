//! The queue of one client of the feed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use bytes::Bytes;
use parking_lot::Mutex;
use poa_core::AgentId;
use tokio::sync::Notify;

use crate::state::frame;

/// What waits for one client: bounded, so that a slow one costs others nothing.
///
/// When it is full, the oldest metric of the same agent and type gives way to a newer one; failing that, the oldest that has a
/// newer one of its own agent and type behind it; failing that, the oldest of all. One that is larger than all the queue is
/// left out itself.
///
/// What agents said last before the client came does not wait here: the queue knows only which agents it was not told of.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Debug)]
struct Waiting {
    limit: usize,
    bytes: usize,
    /// The agents of which the client was not told yet what they said last.
    untold: HashSet<AgentId>,
    /// The same in an order, with some that it was told of meanwhile.
    order: VecDeque<AgentId>,
    /// By their numbers, which rise.
    frames: BTreeMap<u64, Entry>,
    /// The numbers of the frames of each key, rising.
    alike: HashMap<Key, VecDeque<u64>>,
    /// The numbers of frames that have a newer one of their key.
    superseded: BTreeSet<u64>,
    next: u64,
    /// How many metrics of each agent were left out since the client was last told.
    missed: HashMap<AgentId, u64>,
}

type Key = (AgentId, u64);

#[derive(Debug)]
struct Entry {
    key: Key,
    frame: Bytes,
}

/// What an entry costs besides its frame, roughly.
const OVERHEAD: usize = 256;

impl Queue {
    /// A queue of at most `limit` bytes for a client that knows nothing of these agents yet.
    pub(crate) fn new(limit: usize, untold: impl Iterator<Item = AgentId>) -> Self {
        let order: VecDeque<_> = untold.collect();
        let waiting = Waiting {
            limit,
            bytes: 0,
            untold: order.iter().cloned().collect(),
            order,
            frames: BTreeMap::new(),
            alike: HashMap::new(),
            superseded: BTreeSet::new(),
            next: 0,
            missed: HashMap::new(),
        };
        Self { waiting: Mutex::new(waiting), filled: Notify::new() }
    }

    /// Adds a frame. Never waits.
    pub(crate) fn push(&self, agent: &AgentId, kind: u64, frame: &Bytes) {
        let key = (agent.clone(), kind);
        self.waiting.lock().push(Entry { key, frame: frame.clone() });
        self.filled.notify_one();
    }

    /// Whether there are agents of which the client was not told what they said last.
    pub(crate) fn has_untold(&self) -> bool {
        !self.waiting.lock().order.is_empty()
    }

    /// Whether this is one of them; then it is taken.
    pub(crate) fn take_if_untold(&self, agent: &AgentId) -> bool {
        self.waiting.lock().untold.remove(agent)
    }

    /// Takes up to `most` of them.
    pub(crate) fn take_untold(&self, most: usize) -> Vec<AgentId> {
        self.waiting.lock().take_untold(most)
    }

    /// Up to `most` of the frames that come next, at least one. Cancel safe: nothing is taken unless it is given.
    pub(crate) async fn next(&self, most: usize) -> Vec<Bytes> {
        loop {
            let frames = self.waiting.lock().pop(most);
            if !frames.is_empty() {
                return frames;
            }
            self.filled.notified().await;
        }
    }

    /// Nothing of this agent will come any more: no need to remember what was missed.
    pub(crate) fn forget(&self, agent: &AgentId) {
        let waiting = &mut *self.waiting.lock();
        waiting.missed.remove(agent);
        waiting.untold.remove(agent);
    }
}

impl Waiting {
    fn push(&mut self, entry: Entry) {
        let cost = cost(&entry);
        if cost > self.limit {
            // Nothing that gives way would help.
            self.miss(entry.key.0);
            return;
        }
        while self.bytes + cost > self.limit && self.make_room(&entry.key) {}
        let number = self.next;
        self.next += 1;
        self.bytes += cost;
        let alike = self.alike.entry(entry.key.clone()).or_default();
        self.superseded.extend(alike.back());
        alike.push_back(number);
        self.frames.insert(number, entry);
    }

    /// Leaves out one frame for one of this key; false when there is none.
    fn make_room(&mut self, key: &Key) -> bool {
        let same = self.alike.get(key).and_then(|numbers| numbers.front());
        let oldest = || self.frames.first_key_value().map(|(number, _)| number);
        let Some(&number) = same.or(self.superseded.first()).or_else(oldest) else { return false };
        if let Some(entry) = self.remove(number) {
            self.miss(entry.key.0);
        }
        true
    }

    fn miss(&mut self, agent: AgentId) {
        *self.missed.entry(agent).or_default() += 1;
    }

    /// Takes a frame out: always the oldest of its key.
    fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = self.frames.remove(&number)?;
        self.bytes -= cost(&entry);
        self.superseded.remove(&number);
        let alike = self.alike.get_mut(&entry.key)?;
        alike.pop_front();
        if alike.is_empty() {
            self.alike.remove(&entry.key);
        }
        Some(entry)
    }

    fn take_untold(&mut self, most: usize) -> Vec<AgentId> {
        let mut agents = Vec::new();
        while agents.len() < most
            && let Some(agent) = self.order.pop_front()
        {
            if self.untold.remove(&agent) {
                agents.push(agent);
            }
        }
        if self.order.is_empty() {
            // Their memory is needed once only.
            (self.order, self.untold) = Default::default();
        }
        agents
    }

    fn pop(&mut self, most: usize) -> Vec<Bytes> {
        let mut frames = Vec::new();
        while frames.len() < most {
            let Some(number) = self.frames.first_key_value().map(|(number, _)| *number) else {
                break;
            };
            let Some(Entry { key, frame }) = self.remove(number) else { break };
            if let Some(count) = self.missed.remove(&key.0) {
                frames.push(frame::missed(&key.0, count));
            }
            frames.push(frame);
        }
        frames
    }
}

fn cost(entry: &Entry) -> usize {
    OVERHEAD + entry.frame.len()
}

#[cfg(test)]
mod tests;
