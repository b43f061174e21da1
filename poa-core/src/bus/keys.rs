//! Which messages were taken lately, so that one that is sent again is not taken again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::Waiter;
use crate::{IdempotencyKey, Timestamp};

/// How long, how many and over how much of the log keys are remembered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyWindow {
    pub(crate) time: Duration,
    pub(crate) keys: usize,
    pub(crate) log_bytes: u64,
}

impl Default for KeyWindow {
    fn default() -> Self {
        Self { time: Duration::from_secs(600), keys: 500_000, log_bytes: 256 << 20 }
    }
}

/// The keys of the messages taken lately.
#[derive(Debug, Default)]
pub(super) struct Keys {
    window: KeyWindow,
    known: HashMap<IdempotencyKey, State>,
    /// Keys of stored messages, the oldest first, each with its time and its place in the log.
    stored: VecDeque<(Timestamp, u64, IdempotencyKey)>,
}

#[derive(Debug)]
enum State {
    /// On its way to the log. These wait to hear that it has arrived.
    Pending(Vec<Arc<Waiter>>),
    Stored,
}

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Never,
    /// Its message is on its way to the log.
    Pending,
    Stored,
}

impl Keys {
    pub(super) fn new(window: KeyWindow) -> Self {
        Self { window, ..Self::default() }
    }

    pub(super) fn seen(&self, key: IdempotencyKey) -> Seen {
        match self.known.get(&key) {
            None => Seen::Never,
            Some(State::Pending(_)) => Seen::Pending,
            Some(State::Stored) => Seen::Stored,
        }
    }

    /// The message of this key was taken.
    pub(super) fn take(&mut self, key: IdempotencyKey) {
        self.known.insert(key, State::Pending(Vec::new()));
    }

    /// Somebody wants to hear how it ends with a key that is pending.
    pub(super) fn wait(&mut self, key: IdempotencyKey, waiter: Arc<Waiter>) {
        match self.known.get_mut(&key) {
            Some(State::Pending(waiters)) => waiters.push(waiter),
            Some(State::Stored) => waiter.confirm(true),
            None => waiter.not_stored(),
        }
    }

    /// The message of this key is stored, at this place.
    pub(super) fn store(&mut self, key: IdempotencyKey, time: Timestamp, position: u64) {
        if let Some(State::Pending(waiters)) = self.known.insert(key, State::Stored) {
            waiters.iter().for_each(|waiter| waiter.confirm(true));
        }
        self.stored.push_back((time, position, key));
        if self.stored.len() > self.window.keys {
            self.forget_oldest();
        }
    }

    /// The message of this key could not be stored.
    pub(super) fn fail(&mut self, key: IdempotencyKey) {
        if let Some(State::Pending(waiters)) = self.known.remove(&key) {
            waiters.iter().for_each(|waiter| waiter.not_stored());
        }
    }

    /// Forgets what is outside of the window; `end` is where the log ends. Returns where in the log the window begins, if there
    /// is a key in it.
    pub(super) fn forget_old(&mut self, end: u64) -> Option<u64> {
        while let Some((time, position, _)) = self.stored.front() {
            let far = end.saturating_sub(*position) > self.window.log_bytes;
            if !far && time.elapsed() <= self.window.time {
                return Some(*position);
            }
            self.forget_oldest();
        }
        None
    }

    fn forget_oldest(&mut self) {
        if let Some((_, _, key)) = self.stored.pop_front() {
            self.known.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AgentId;

    fn key(n: usize) -> IdempotencyKey {
        IdempotencyKey::in_batch(&AgentId::new("a").unwrap(), "k", n).unwrap()
    }

    fn keys(count: usize) -> Keys {
        Keys::new(KeyWindow { time: Duration::from_secs(60), keys: count, log_bytes: 1000 })
    }

    #[test]
    fn a_key_is_pending_then_stored_or_forgotten() {
        let mut keys = keys(10);
        assert_eq!(keys.seen(key(1)), Seen::Never);
        keys.take(key(1));
        keys.take(key(2));
        assert_eq!(keys.seen(key(1)), Seen::Pending);
        keys.store(key(1), Timestamp::now(), 5);
        keys.fail(key(2));
        assert_eq!((keys.seen(key(1)), keys.seen(key(2))), (Seen::Stored, Seen::Never));
    }

    #[test]
    fn the_window_is_bounded_in_count_bytes_and_time() {
        let mut keys = keys(3);
        for n in 0..5 {
            keys.store(key(n), Timestamp::now(), n as u64 * 100);
        }
        assert_eq!((keys.seen(key(1)), keys.seen(key(2))), (Seen::Never, Seen::Stored));
        assert_eq!(keys.forget_old(1250), Some(300));
        assert_eq!(keys.seen(key(2)), Seen::Never);
        keys.store(key(9), Timestamp::from_micros(1), 1100);
        keys.stored.rotate_right(1);
        assert_eq!(keys.forget_old(1250), Some(300));
        assert_eq!(keys.seen(key(9)), Seen::Never);
        assert_eq!(keys.forget_old(10_000), None);
    }
}
