//! The shares of owners in the backlog.

use std::collections::VecDeque;

/// The number of counters by which owners are distinguished. Two owners with the same counter share a share.
const OWNERS: usize = 1024;

/// Above this number of chunks, adjacent ones are merged in pairs.
const MOST_CHUNKS: usize = 128;

/// The initial size of a chunk in bytes.
const FIRST_CHUNK: u64 = 256 << 10;

/// A smaller backlog is not divided.
const LEAST: u64 = 1 << 20;

/// One owner may have this multiple of the free space (dynamic thresholds, Choudhury and Hahne, 1998): a single owner gets eight ninths,
/// and a part is left for others.
const TIMES_FREE: u64 = 8;

/// The owner of a message: the user who sent it, or the agent where no user is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Owner(pub(crate) u32);

impl Owner {
    fn counter(self) -> usize {
        self.0 as usize % OWNERS
    }
}

/// Bytes that were accepted and that some subscriber still needs, by owner.
///
/// Counted in chunks, which are removed when the last subscriber has passed them, so that a message costs two additions.
#[derive(Debug)]
pub(crate) struct Fair {
    /// The bytes of each owner.
    held: Counters,
    /// The sum of everything.
    all: u64,
    /// The full chunks, the oldest first.
    chunks: VecDeque<Chunk>,
    /// The chunk that is being filled.
    filling: Filling,
    chunk_bytes: u64,
}

type Counters = Box<[u64; OWNERS]>;

#[derive(Debug)]
struct Chunk {
    /// The end of the engine when the chunk was full.
    end: u64,
    bytes: u64,
    /// The counters that it has something of, and how much.
    parts: Vec<(u16, u64)>,
}

#[derive(Debug)]
struct Filling {
    bytes: u64,
    counters: Counters,
    /// The counters that are not zero.
    used: Vec<u16>,
}

impl Filling {
    fn add(&mut self, counter: usize, bytes: u64) {
        if self.counters[counter] == 0 {
            self.used.push(counter as u16);
        }
        self.counters[counter] += bytes;
        self.bytes += bytes;
    }

    /// The chunk, which is full. The next one is empty.
    fn take(&mut self, end: u64) -> Chunk {
        let counters = &mut self.counters;
        let part = |counter| (counter, std::mem::take(&mut counters[usize::from(counter)]));
        let parts = self.used.drain(..).map(part).collect();
        Chunk { end, bytes: std::mem::take(&mut self.bytes), parts }
    }
}

impl Chunk {
    fn absorb(&mut self, other: Self) {
        self.end = other.end;
        self.bytes += other.bytes;
        self.parts.extend(other.parts);
        self.parts.sort_unstable();
        self.parts.dedup_by(|next, kept| {
            let is_same = next.0 == kept.0;
            kept.1 += if is_same { next.1 } else { 0 };
            is_same
        });
    }
}

/// The decision about an owner that adds to a backlog which is filling up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    Within,
    /// No other owner has anything in it, so the owner may be told that the backlog is full.
    Alone,
    /// It exceeds its share.
    Over,
}

impl Default for Fair {
    fn default() -> Self {
        let none = || Box::new([0; OWNERS]);
        Self {
            held: none(),
            all: 0,
            chunks: VecDeque::new(),
            filling: Filling { bytes: 0, counters: none(), used: Vec::new() },
            chunk_bytes: FIRST_CHUNK,
        }
    }
}

impl Fair {
    /// These bytes were accepted, when the engine ended at `end`.
    pub(crate) fn charge(&mut self, owner: Owner, bytes: u64, end: u64) {
        let counter = owner.counter();
        self.held[counter] += bytes;
        self.all += bytes;
        self.filling.add(counter, bytes);
        if self.filling.bytes >= self.chunk_bytes {
            self.end_chunk(end);
        }
    }

    fn end_chunk(&mut self, end: u64) {
        if self.chunks.len() >= MOST_CHUNKS {
            self.merge_chunks();
        }
        self.chunks.push_back(self.filling.take(end));
    }

    /// Halves the number of chunks.
    fn merge_chunks(&mut self) {
        let mut old = std::mem::take(&mut self.chunks).into_iter();
        while let Some(mut chunk) = old.next() {
            if let Some(next) = old.next() {
                chunk.absorb(next);
            }
            self.chunks.push_back(chunk);
        }
        self.chunk_bytes *= 2;
    }

    /// No subscriber needs anything before this position.
    pub(crate) fn release_before(&mut self, position: u64) {
        while self.chunks.front().is_some_and(|chunk| chunk.end < position) {
            let Some(chunk) = self.chunks.pop_front() else { return };
            self.all -= chunk.bytes;
            for (counter, bytes) in chunk.parts {
                self.held[usize::from(counter)] -= bytes;
            }
        }
    }

    /// Whether an owner may add to a backlog of which `used` of `most` bytes are in use.
    pub(crate) fn share(&self, owner: Owner, used: u64, most: u64) -> Share {
        let free = most.saturating_sub(used);
        if most < LEAST || used < most / 2 {
            return Share::Within;
        }
        let held = self.held[owner.counter()];
        if held <= free.saturating_mul(TIMES_FREE) {
            Share::Within
        } else if self.all - held < self.all / 64 {
            Share::Alone
        } else {
            Share::Over
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const ONE: Owner = Owner(1);
    const TWO: Owner = Owner(2);

    #[test]
    fn a_single_owner_may_fill_most_of_it_and_one_of_two_gets_its_share() {
        let mut fair = Fair::default();
        fair.charge(ONE, 80 * MIB, 1);
        assert_eq!(fair.share(ONE, 80 * MIB, 100 * MIB), Share::Within);
        fair.charge(ONE, 10 * MIB, 2);
        assert_eq!(fair.share(ONE, 90 * MIB, 100 * MIB), Share::Alone);
        assert_eq!(fair.share(TWO, 90 * MIB, 100 * MIB), Share::Within);
        fair.charge(TWO, 5 * MIB, 3);
        assert_eq!(fair.share(ONE, 95 * MIB, 100 * MIB), Share::Over);
        assert_eq!(fair.share(TWO, 95 * MIB, 100 * MIB), Share::Within);
    }

    #[test]
    fn small_backlogs_and_empty_ones_are_not_divided() {
        let mut fair = Fair::default();
        fair.charge(ONE, 100, 1);
        assert_eq!(fair.share(ONE, 100, 100), Share::Within);
        assert_eq!(fair.share(ONE, MIB, 100 * MIB), Share::Within);
    }

    #[test]
    fn delivered_bytes_no_longer_count_and_chunks_are_few() {
        let mut fair = Fair::default();
        for n in 0..10_000 {
            fair.charge(Owner(n % 3), 100_000, u64::from(n));
        }
        assert!(fair.chunks.len() <= MOST_CHUNKS + 1);
        assert_eq!(fair.all, 1_000_000_000);
        let parts = fair.chunks.iter().flat_map(|chunk| &chunk.parts);
        let of_one: u64 = parts.filter(|part| part.0 == 1).map(|part| part.1).sum();
        assert_eq!(of_one + fair.filling.counters[1], fair.held[1]);
        assert!(fair.chunks.iter().all(|chunk| chunk.parts.len() == 3));
        fair.release_before(5_000);
        assert!((400_000_000..=600_000_000).contains(&fair.all), "{}", fair.all);
        fair.release_before(u64::MAX);
        assert!(fair.all == fair.filling.bytes && fair.chunks.is_empty());
        assert_eq!(fair.held.iter().sum::<u64>(), fair.filling.bytes);
    }
}
