//! Agents that are known to be inactive, in a few bytes each.

use std::collections::HashSet;

/// The most agents in one half of the set.
const MOST: usize = 16_384;

/// Remembers which agents are inactive, by the hashes of their ids, for a time and up to a number: anyone who may send can make up
/// agents that leave. One that is forgotten early is said to be inactive once more, which harms nothing.
///
/// The set has two halves. When the younger one is old or full, it becomes the older one, and what was in that is forgotten.
#[derive(Debug)]
pub(super) struct Quiet {
    halves: [HashSet<u64>; 2],
    /// The tick at which the younger half began.
    since: u64,
    /// How long a half is filled, in ticks.
    turn: u64,
}

impl Quiet {
    /// Remembers for this many ticks at most, and for half of them at least unless there are too many agents.
    pub(super) fn new(ticks: u64) -> Self {
        Self { halves: Default::default(), since: 0, turn: (ticks / 2).max(1) }
    }

    /// Adds an agent; false when it was there.
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

    /// Removes an agent; whether it was there.
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
    fn holds_so_many_and_no_more() {
        let mut quiet = Quiet::new(u64::MAX);
        for hash in 0..10 * MOST as u64 {
            assert!(quiet.insert(hash, 0));
        }
        assert!(quiet.halves.iter().map(HashSet::len).sum::<usize>() <= 2 * MOST);
        assert!(!quiet.insert(10 * MOST as u64 - 1, 0) && quiet.insert(0, 0));
    }
}
