//! Sizes of queues.

use poa_core::BatchLimits;
use poa_core::engine::Event;

/// A number of events and their size in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
}

impl Load {
    pub(crate) fn of(event: &Event) -> Self {
        Self { count: 1, bytes: event.footprint() }
    }

    pub(crate) fn of_all(events: &[(u64, Event)]) -> Self {
        let mut load = Self::default();
        events.iter().for_each(|(_, event)| load.add(Self::of(event)));
        load
    }

    pub(crate) fn of_batch(limits: &BatchLimits) -> Self {
        Self {
            count: limits.size.max(1),
            bytes: usize::try_from(limits.bytes.get()).unwrap_or(usize::MAX),
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.count += other.count;
        self.bytes += other.bytes;
    }

    /// Counts from before a restart may be too low, so this stops at zero.
    pub(crate) fn subtract(&mut self, other: Self) {
        self.count = self.count.saturating_sub(other.count);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }

    pub(crate) fn reaches(self, other: Self) -> bool {
        self.count >= other.count || self.bytes >= other.bytes
    }

    /// Whether one more event of this size still fits a batch of this limit; the first one always does.
    pub(crate) fn fits(self, more: Self, limit: Self) -> bool {
        self.count == 0 || (self.count < limit.count && self.bytes + more.bytes <= limit.bytes)
    }
}
