//! Counts and times of everything that was sent.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use parking_lot::Mutex;

/// Answers are timed in microseconds, to 3 digits, up to ten minutes.
const LONGEST: u64 = 600_000_000;

/// Counts of a fleet, written by all its agents at the same time.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) sent: Counter,
    pub(crate) acknowledged: Counter,
    pub(crate) refused: Counter,
    pub(crate) resent: Counter,
    pub(crate) pings: Counter,
    pub(crate) failures: Counter,
    pub(crate) present: Counter,
    times: Mutex<Times>,
}

/// A number that many threads change.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

#[derive(Debug)]
struct Times {
    all: Spans,
    /// Since the last progress line.
    recent: Histogram<u64>,
}

/// How long things took.
#[derive(Debug, Clone)]
pub(crate) struct Spans {
    /// From the attempt that succeeded to its answer.
    pub(crate) answer: Histogram<u64>,
    /// From the moment the message was due to its answer: what waited for its turn, or was sent again, counts in full.
    pub(crate) total: Histogram<u64>,
}

impl Counter {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn subtract(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Tally {
    pub(crate) fn new() -> Self {
        let all = Spans { answer: histogram(), total: histogram() };
        Self {
            sent: Counter::default(),
            acknowledged: Counter::default(),
            refused: Counter::default(),
            resent: Counter::default(),
            pings: Counter::default(),
            failures: Counter::default(),
            present: Counter::default(),
            times: Mutex::new(Times { all, recent: histogram() }),
        }
    }

    pub(crate) fn acknowledge(&self, answer: Duration, total: Duration) {
        self.acknowledged.add();
        let [answer, total] = [answer, total].map(micros);
        let mut times = self.times.lock();
        times.recent.saturating_record(answer);
        times.all.answer.saturating_record(answer);
        times.all.total.saturating_record(total);
    }

    /// Sent and neither acknowledged nor refused.
    pub(crate) fn open(&self) -> u64 {
        let done = self.acknowledged.get() + self.refused.get();
        self.sent.get().saturating_sub(done)
    }

    /// Answer times since the last time this was asked: the median, and the 99th percentile.
    pub(crate) fn recent(&self) -> [Duration; 2] {
        let mut times = self.times.lock();
        let found = [0.5, 0.99].map(|q| Duration::from_micros(times.recent.value_at_quantile(q)));
        times.recent.reset();
        found
    }

    pub(crate) fn spans(&self) -> Spans {
        self.times.lock().all.clone()
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, 3).expect("good bounds")
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_is_what_was_sent_and_has_no_end_yet() {
        let tally = Tally::new();
        (0..5).for_each(|_| tally.sent.add());
        tally.refused.add();
        tally.acknowledge(Duration::from_millis(2), Duration::from_secs(3));
        assert_eq!(tally.open(), 3);
        let spans = tally.spans();
        assert!((2_000..2_010).contains(&spans.answer.max()), "{}", spans.answer.max());
        assert!((3_000_000..3_010_000).contains(&spans.total.max()));
        assert_eq!(tally.recent()[0].as_millis(), 2);
        assert_eq!(tally.recent()[0], Duration::ZERO);
    }

    #[test]
    fn what_takes_longer_than_can_be_counted_is_not_lost() {
        let tally = Tally::new();
        tally.acknowledge(Duration::from_secs(100_000), Duration::MAX);
        assert_eq!(tally.spans().total.len(), 1);
    }
}
