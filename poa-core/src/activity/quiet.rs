//! Agents that are known to be inactive, in a few bytes each.

use std::collections::HashSet;

/// The most agents in one half of the set.
const MOST: usize = 16_384;

/// Remembers which agents are inactive, by the hashes of their ids, for a limited time and up to a limited number: any client that
/// may send can invent agents that leave. An agent that is forgotten early is reported inactive again, which is harmless.
///
/// The set has two halves. When the younger half is old or full, it becomes the older one, and the previous older half is dropped.
#[derive(Debug)]
pub(super) struct Quiet {
    halves: [HashSet<u64>; 2],
    /// The tick at which the younger half started.
    since: u64,
    /// How long one half is filled, in ticks.
    turn: u64,
}

impl Quiet {
    /// Remembers an agent for at most this many ticks, and for at least half of them unless there are too many agents.
    pub(super) fn new(ticks: u64) -> Self {
        Self { halves: Default::default(), since: 0, turn: (ticks / 2).max(1) }
    }

    /// Adds an agent; returns false if it was in the set.
    pub(super) fn insert(&mut self, hash: u64, now: u64) -> bool {
        self.turn(now);
        if self.halves.iter().any(|half| half.contains(&hash)) {
            return false;
        }
        if self.halves[0].len() >= MOST {
            self.begin(now);
        }
        self.halves[0].insert(hash)
    }

    /// Removes an agent; returns whether it was in the set.
    pub(super) fn remove(&mut self, hash: u64, now: u64) -> bool {
        self.turn(now);
        let [younger, older] = &mut self.halves;
        younger.remove(&hash) || older.remove(&hash)
    }

    fn turn(&mut self, now: u64) {
        let age = now.saturating_sub(self.since);
        if age >= self.turn {
            self.begin(now);
        }
        if age >= 2 * self.turn {
            self.halves[1] = HashSet::new();
        }
    }

    fn begin(&mut self, now: u64) {
        self.halves.swap(0, 1);
        self.halves[0] = HashSet::new();
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_for_a_time() {
        let mut quiet = Quiet::new(100);
        assert!(quiet.insert(1, 10) && !quiet.insert(1, 59));
        assert!(!quiet.insert(1, 80) && quiet.insert(1, 300));
        assert!(quiet.remove(1, 310) && !quiet.remove(1, 310));
    }

    #[test]
    fn holds_at_most_its_limit() {
        let mut quiet = Quiet::new(u64::MAX);
        for hash in 0..10 * MOST as u64 {
            assert!(quiet.insert(hash, 0));
        }
        assert!(quiet.halves.iter().map(HashSet::len).sum::<usize>() <= 2 * MOST);
        assert!(!quiet.insert(10 * MOST as u64 - 1, 0) && quiet.insert(0, 0));
    }
}
