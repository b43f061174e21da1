//! The queue of one client of the feed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use bytes::Bytes;
use parking_lot::Mutex;
use poa_core::AgentId;
use tokio::sync::Notify;

use crate::state::frame;

/// The frames that wait for one client. The size is limited, so that a slow client does not affect others.
///
/// When it is full, a newer metric replaces the oldest of the same agent and type; failing that, the oldest that has a
/// newer one of its own agent and type behind it is dropped; failing that, the oldest of all. A frame larger than the
/// whole queue is dropped itself.
///
/// The last values from before the client connected do not wait here: the queue only knows the agents whose last
/// values were not sent yet.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Debug)]
struct Waiting {
    limit: usize,
    bytes: usize,
    /// The agents whose last values were not sent to the client yet.
    untold: HashSet<AgentId>,
    /// The same agents in order; some of their values were sent meanwhile.
    order: VecDeque<AgentId>,
    /// Frames by their ascending numbers.
    frames: BTreeMap<u64, Entry>,
    /// The ascending numbers of the frames of each key.
    alike: HashMap<Key, VecDeque<u64>>,
    /// The numbers of frames that have a newer one of their key.
    superseded: BTreeSet<u64>,
    next: u64,
    /// The number of metrics of each agent that were dropped since the client was last notified.
    missed: HashMap<AgentId, u64>,
}

type Key = (AgentId, u64);

#[derive(Debug)]
struct Entry {
    key: Key,
    frame: Bytes,
}

/// The approximate overhead of an entry.
const OVERHEAD: usize = 256;

impl Queue {
    /// A queue of at most `limit` bytes for a client that has no values of these agents yet.
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

    /// Whether there are agents whose last values were not sent yet.
    pub(crate) fn has_untold(&self) -> bool {
        !self.waiting.lock().order.is_empty()
    }

    /// Whether this is one of them; removes it.
    pub(crate) fn take_if_untold(&self, agent: &AgentId) -> bool {
        self.waiting.lock().untold.remove(agent)
    }

    /// Removes up to `most` of them.
    pub(crate) fn take_untold(&self, most: usize) -> Vec<AgentId> {
        self.waiting.lock().take_untold(most)
    }

    /// Up to `most` of the next frames, at least one. Cancel safe: no frame is removed unless it is returned.
    pub(crate) async fn next(&self, most: usize) -> Vec<Bytes> {
        loop {
            let frames = self.waiting.lock().pop(most);
            if !frames.is_empty() {
                return frames;
            }
            self.filled.notified().await;
        }
    }

    /// No more frames of this agent will come, so its count of dropped metrics is not needed.
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
            // Dropping other frames would not make enough room.
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

    /// Drops one frame to make room for one of this key; false when there is none.
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

    /// Removes a frame: always the oldest of its key.
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
            // This memory is needed only once.
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
