//! The rate limit of a tap.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

/// The time after which the whole rate is available again.
pub(super) const WINDOW: Duration = Duration::from_secs(1);

/// So many lines a second, and the number of messages that were left out since the last line. Deliveries decide by it before they do
/// anything for a tap, so it is a few atomic operations and never a lock.
#[derive(Debug)]
pub(super) struct Budget {
    rate: u32,
    since: Instant,
    /// The number of the current window in the upper half, the lines shown in it in the lower one.
    shown: AtomicU64,
    left_out: AtomicU64,
}

impl Budget {
    pub(super) fn new(rate: u32, since: Instant) -> Self {
        Self { rate, since, shown: AtomicU64::new(0), left_out: AtomicU64::new(0) }
    }

    /// Takes up to `wanted` lines of the current window; the number that may be shown.
    pub(super) fn take(&self, wanted: u32, now: Instant) -> u32 {
        let window = now.saturating_duration_since(self.since).as_secs() / WINDOW.as_secs();
        let mut seen = self.shown.load(Relaxed);
        loop {
            // A caller that read the clock a little earlier counts in the newer window.
            let shown = if window > seen >> 32 { 0 } else { seen as u32 };
            let taken = wanted.min(self.rate.saturating_sub(shown));
            if taken == 0 {
                return 0;
            }
            let next = window.max(seen >> 32) << 32 | u64::from(shown + taken);
            match self.shown.compare_exchange_weak(seen, next, Relaxed, Relaxed) {
                Ok(_) => return taken,
                Err(other) => seen = other,
            }
        }
    }

    /// Counts messages that are not shown.
    pub(super) fn leave_out(&self, count: u64) {
        if count > 0 {
            self.left_out.fetch_add(count, Relaxed);
        }
    }

    /// The messages left out since the last call.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out.swap(0, Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_available_again_after_a_window() {
        let begin = Instant::now();
        let budget = Budget::new(10, begin);
        let taken: Vec<_> = [4, 4, 4, 4].map(|wanted| budget.take(wanted, begin)).into();
        assert_eq!(taken, [4, 4, 2, 0]);
        assert_eq!(budget.take(4, begin + WINDOW - Duration::from_nanos(1)), 0);
        assert_eq!(budget.take(40, begin + WINDOW), 10);
        assert_eq!(budget.take(1, begin), 0, "an earlier time does not bring the rate back");
        assert_eq!(budget.take(1, begin + 7 * WINDOW), 1);
    }

    #[test]
    fn what_is_left_out_is_counted_until_it_is_read() {
        let budget = Budget::new(1, Instant::now());
        budget.leave_out(3);
        budget.leave_out(4);
        assert_eq!((budget.left_out(), budget.left_out()), (7, 0));
    }
}
