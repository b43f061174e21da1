//! The lines that wait to be written, and the counts of the others.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The most bytes that wait, which limits the memory when the reader stops reading.
pub(super) const MAX_BYTES: usize = 1 << 20;

/// The number of lines that a log has written and lost. Cloning is cheap; all clones count the same log.
#[derive(Clone, Debug, Default)]
pub struct LogCounts(Arc<Counted>);

#[derive(Debug, Default)]
struct Counted {
    written: AtomicU64,
    failed: AtomicU64,
    overflowed: AtomicU64,
    summarised: AtomicU64,
}

impl LogCounts {
    /// Lines that were written.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.0.written.load(Ordering::Relaxed)
    }

    /// Lines that were lost because writing failed: the pipe is closed, the disk is full.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.0.failed.load(Ordering::Relaxed)
    }

    /// Lines that were lost because too many waited: the reader of the log output has stopped reading, or is
    /// too slow.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.0.overflowed.load(Ordering::Relaxed)
    }

    /// Lines that repeat others, which a summary replaces.
    #[must_use]
    pub fn summarised(&self) -> u64 {
        self.0.summarised.load(Ordering::Relaxed)
    }

    /// Lines that were lost, for either reason.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.failed() + self.overflowed()
    }

    pub(super) fn add_written(&self) {
        self.0.written.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_failed(&self) {
        self.0.failed.fetch_add(1, Ordering::Relaxed);
    }

    fn add_overflowed(&self) {
        self.0.overflowed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_summarised(&self) {
        self.0.summarised.fetch_add(1, Ordering::Relaxed);
    }
}

/// Lines on their way to the writing thread.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    pub(super) counts: LogCounts,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Box<[u8]>>,
    bytes: usize,
    closed: bool,
    ended: bool,
}

/// The next task of the writing thread.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Write this line.
    Line(Box<[u8]>),
    /// No line arrived in time.
    Idle,
    /// No more lines will arrive.
    End,
}

impl Queue {
    /// An empty queue with these counts.
    pub(super) fn counted_by(counts: LogCounts) -> Self {
        Self { counts, ..Self::default() }
    }

    /// Accepts a line. Never blocks for longer than others hold the lock, which is to push or pop one.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.closed || line.len() > MAX_BYTES - state.bytes {
            drop(state);
            return self.counts.add_overflowed();
        }
        state.bytes += line.len();
        state.lines.push_back(line.into());
        drop(state);
        self.changed.notify_all();
    }

    /// Waits for a line.
    pub(super) fn next(&self, patience: Duration) -> Next {
        let empty = |state: &mut State| state.lines.is_empty() && !state.closed;
        let waited = self.changed.wait_timeout_while(self.lock(), patience, empty);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        match state.lines.pop_front() {
            Some(line) => {
                state.bytes -= line.len();
                Next::Line(line)
            }
            None if state.closed => Next::End,
            None => Next::Idle,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Accepts no more lines.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// The writing thread has ended.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    /// Waits until the writing thread has ended, but not past the deadline.
    pub(super) fn wait_for_end(&self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        let goes_on = |state: &mut State| !state.ended;
        drop(self.changed.wait_timeout_while(self.lock(), left, goes_on));
    }

    /// A thread that panicked here left whole lines.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(1);

    #[test]
    fn lines_arrive_in_order_and_the_end_arrives_last() {
        let queue = Queue::default();
        queue.push(b"a\n");
        queue.push(b"b\n");
        queue.close();
        queue.push(b"too late\n");
        assert_eq!(queue.next(SOON), Next::Line((*b"a\n").into()));
        assert_eq!(queue.next(SOON), Next::Line((*b"b\n").into()));
        assert_eq!(queue.next(SOON), Next::End);
        assert_eq!(queue.counts.lost(), 1);
    }

    #[test]
    fn no_more_waits_than_the_limit() {
        let queue = Queue::default();
        let line = vec![b'x'; MAX_BYTES / 4 + 1];
        (0..5).for_each(|_| queue.push(&line));
        assert_eq!(queue.counts.overflowed(), 2);
        assert!(matches!(queue.next(SOON), Next::Line(_)));
        queue.push(&line);
        assert_eq!(queue.counts.overflowed(), 2);
        queue.push(&vec![b'x'; MAX_BYTES + 1]);
        assert_eq!(queue.counts.overflowed(), 3);
    }
}
