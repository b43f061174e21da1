//! Measured metrics that are not sent yet.

use std::collections::VecDeque;
use std::num::NonZeroUsize;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::Metric;

/// A bounded queue that drops its oldest metric when it is full, so that measuring never waits.
///
/// Many tasks can push, one takes.
#[derive(Debug)]
pub(crate) struct Buffer {
    capacity: NonZeroUsize,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Metric>,
    closed: bool,
    tally: Tally,
}

/// The counts of a [`Buffer`].
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    /// The number of metrics pushed.
    pub(crate) measured: u64,
    /// The number of metrics dropped for newer ones.
    pub(crate) overflowed: u64,
}

impl Buffer {
    pub(crate) fn new(capacity: NonZeroUsize) -> Self {
        Self { capacity, state: Mutex::default(), changed: Notify::new() }
    }

    pub(crate) fn push(&self, metric: Metric) {
        let overflowed = self.state.lock().push(metric, self.capacity);
        self.changed.notify_one();
        // An outage of days must not fill the log as well.
        if overflowed.is_some_and(u64::is_power_of_two) {
            tracing::warn!(
                dropped = overflowed,
                capacity = self.capacity,
                "the buffer is full; dropping the oldest metrics"
            );
        }
    }

    /// The oldest metric; `None` once the buffer is closed and empty.
    ///
    /// Cancel safe: a metric is removed only when it is returned.
    pub(crate) async fn take(&self) -> Option<Metric> {
        loop {
            {
                let mut state = self.state.lock();
                if let Some(metric) = state.waiting.pop_front() {
                    return Some(metric);
                }
                if state.closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    /// Closes the buffer: no more metrics will be pushed.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_one();
    }

    /// Waits until the buffer is closed. Only for the one who takes, since it uses up the same wake-ups. Cancel safe.
    pub(crate) async fn closed(&self) {
        while !self.is_closed() {
            self.changed.notified().await;
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    pub(crate) fn len(&self) -> usize {
        self.state.lock().waiting.len()
    }

    pub(crate) fn tally(&self) -> Tally {
        self.state.lock().tally
    }
}

impl State {
    /// Returns the number of dropped metrics if this one made it grow.
    fn push(&mut self, metric: Metric, capacity: NonZeroUsize) -> Option<u64> {
        self.tally.measured += 1;
        let full = self.waiting.len() >= capacity.get();
        if full {
            self.waiting.pop_front();
            self.tally.overflowed += 1;
        }
        self.waiting.push_back(metric);
        full.then_some(self.tally.overflowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(number: u32) -> Metric {
        Metric::new("system_metrics", "test", &number).unwrap()
    }

    fn buffer(capacity: usize) -> Buffer {
        Buffer::new(NonZeroUsize::new(capacity).unwrap())
    }

    #[tokio::test]
    async fn the_oldest_gives_way_and_is_counted() {
        let buffer = buffer(2);
        let metrics = [metric(1), metric(2), metric(3)];
        metrics.iter().cloned().for_each(|metric| buffer.push(metric));
        buffer.close();
        assert_eq!(buffer.take().await.map(|m| m.key()), Some(metrics[1].key()));
        assert_eq!(buffer.take().await.map(|m| m.key()), Some(metrics[2].key()));
        assert!(buffer.take().await.is_none());
        assert_eq!(buffer.tally(), Tally { measured: 3, overflowed: 1 });
    }

    #[tokio::test]
    async fn a_waiting_taker_wakes_for_a_metric_and_for_the_end() {
        let buffer = buffer(2);
        let (first, ()) = tokio::join!(buffer.take(), async { buffer.push(metric(1)) });
        assert!(first.is_some());
        let (end, ()) = tokio::join!(buffer.take(), async { buffer.close() });
        assert!(end.is_none());
    }

    #[tokio::test]
    async fn metrics_pushed_while_waiting_for_the_end_are_not_overlooked() {
        let buffer = buffer(2);
        tokio::join!(buffer.closed(), async {
            buffer.push(metric(1));
            tokio::task::yield_now().await;
            buffer.close();
        });
        assert!(buffer.take().await.is_some());
        assert!(buffer.take().await.is_none());
    }
}
