//! The queue of one client of the feed.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use bytes::Bytes;
use parking_lot::Mutex;
use poa_core::AgentId;
use tokio::sync::Notify;

use crate::state::frame;

/// What waits for one client: bounded, so that a slow one costs others nothing.
///
/// When it is full, the oldest metric of the same agent and type gives way to a newer one; failing that, the oldest that has a
/// newer one of its own agent and type behind it; failing that, the oldest of all.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Debug)]
struct Waiting {
    limit: usize,
    bytes: usize,
    /// The last values, sent first. They are shared with the state, and so cost little.
    first: VecDeque<Bytes>,
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
    /// A queue of at most `limit` bytes that begins with these frames, which do not count.
    pub(crate) fn new(limit: usize, first: VecDeque<Bytes>) -> Self {
        let waiting = Waiting {
            limit,
            bytes: 0,
            first,
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
        self.waiting.lock().missed.remove(agent);
    }
}

impl Waiting {
    fn push(&mut self, entry: Entry) {
        let cost = cost(&entry);
        while self.bytes + cost > self.limit && self.make_room(&entry.key) {}
        if self.bytes + cost > self.limit {
            self.miss(entry.key.0);
            return;
        }
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

    fn pop(&mut self, most: usize) -> Vec<Bytes> {
        let first = self.first.len().min(most);
        let mut frames: Vec<Bytes> = self.first.drain(..first).collect();
        if self.first.is_empty() {
            // Its memory is needed once only.
            self.first = VecDeque::new();
        }
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
