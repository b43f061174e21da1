//! Which messages were taken lately, so that one that is sent again is not taken again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use poa_core::engine::{Fingerprint, KeyWindow, TypeSet};
use poa_core::{IdempotencyKey, MessageId, Timestamp};

use crate::confirmations::Waiter;

/// The keys of the messages taken lately.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    window: KeyWindow,
    known: HashMap<IdempotencyKey, Known>,
    /// Keys of stored messages, the oldest first, each with its time and its place in the log.
    stored: VecDeque<(Timestamp, u64, IdempotencyKey)>,
}

#[derive(Debug)]
struct Known {
    id: MessageId,
    fingerprint: Fingerprint,
    state: State,
}

#[derive(Debug)]
enum State {
    /// On its way to the log. These wait to hear that it has arrived.
    Pending(Vec<Follower>),
    /// At this position. Lost when a reader whose word counts will not get it.
    Stored { position: u64, lost: bool },
}

/// Somebody who sent a message again while it was on its way to the log.
#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) waiter: Arc<Waiter>,
    /// Who has to confirm; nobody but the disk when empty.
    pub(crate) readers: TypeSet,
}

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Never,
    /// Its message is on its way to the log.
    Pending,
    /// Its message stands at this position.
    Stored {
        position: u64,
        /// Somebody will not get it.
        lost: bool,
    },
}

impl Keys {
    /// With so many waiting for one key, those who have gone are looked for.
    const MANY: usize = 64;

    pub(crate) fn new(window: KeyWindow) -> Self {
        Self { window, ..Self::default() }
    }

    pub(crate) fn seen(&self, key: IdempotencyKey) -> Seen {
        match self.known.get(&key).map(|known| &known.state) {
            None => Seen::Never,
            Some(State::Pending(_)) => Seen::Pending,
            Some(State::Stored { position, lost }) => {
                Seen::Stored { position: *position, lost: *lost }
            }
        }
    }

    /// The id of the message that was taken with this key.
    pub(crate) fn id_of(&self, key: IdempotencyKey) -> Option<MessageId> {
        self.known.get(&key).map(|known| known.id)
    }

    /// Whether this key was given to a message that said something else.
    pub(crate) fn is_of_another(&self, key: IdempotencyKey, fingerprint: Fingerprint) -> bool {
        self.known.get(&key).is_some_and(|known| known.fingerprint != fingerprint)
    }

    /// The message of this key was taken.
    pub(crate) fn take(&mut self, key: IdempotencyKey, fingerprint: Fingerprint, id: MessageId) {
        self.known.insert(key, Known { id, fingerprint, state: State::Pending(Vec::new()) });
    }

    /// Somebody wants to hear how it ends with a key that is pending.
    pub(crate) fn follow(&mut self, key: IdempotencyKey, follower: Follower) {
        match self.known.get_mut(&key).map(|known| &mut known.state) {
            Some(State::Pending(followers)) => {
                if followers.len() >= Self::MANY && followers.len().is_power_of_two() {
                    followers.retain(|other| !other.waiter.is_alone());
                }
                followers.push(follower);
            }
            Some(State::Stored { .. }) => follower.waiter.confirm(true),
            None => follower.waiter.not_stored(),
        }
    }

    /// The message of this key is stored, at this place. Returns who waits for that.
    pub(crate) fn store(
        &mut self,
        key: IdempotencyKey,
        fingerprint: Fingerprint,
        id: MessageId,
        time: Timestamp,
        position: u64,
    ) -> Vec<Follower> {
        let state = State::Stored { position, lost: false };
        let before = self.known.insert(key, Known { id, fingerprint, state });
        self.stored.push_back((time, position, key));
        if self.stored.len() > self.window.keys {
            self.forget_oldest();
        }
        match before {
            Some(Known { state: State::Pending(followers), .. }) => followers,
            _ => Vec::new(),
        }
    }

    /// The message of this key could not be stored.
    pub(crate) fn fail(&mut self, key: IdempotencyKey) {
        let known = self.known.remove(&key);
        if let Some(Known { state: State::Pending(followers), .. }) = known {
            followers.iter().for_each(|follower| follower.waiter.not_stored());
        }
    }

    /// Somebody will not get what stands at this position.
    pub(crate) fn lose(&mut self, position: u64) {
        let at = self.stored.partition_point(|(_, other, _)| *other < position);
        let Some((_, _, key)) = self.stored.get(at).filter(|(_, other, _)| *other == position)
        else {
            return;
        };
        if let Some(Known { state: State::Stored { lost, .. }, .. }) = self.known.get_mut(key) {
            *lost = true;
        }
    }

    /// Forgets what is outside of the window; `end` is where the log ends. Returns where in the log the window begins, if there
    /// is a key in it.
    pub(crate) fn forget_old(&mut self, end: u64) -> Option<u64> {
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
    use poa_core::AgentId;
    use std::time::Duration;

    const ID: MessageId = MessageId::from_bytes([7; 16]);

    fn key(n: usize) -> IdempotencyKey {
        IdempotencyKey::in_batch(&AgentId::new("a").unwrap(), "k", n).unwrap()
    }

    fn keys(count: usize) -> Keys {
        let mut window = KeyWindow::default().time(Duration::from_secs(60)).keys(count);
        window.log_bytes = 1000;
        Keys::new(window)
    }

    const SAME: Fingerprint = Fingerprint::NONE;

    #[test]
    fn a_key_is_pending_then_stored_or_forgotten() {
        let mut keys = keys(10);
        assert_eq!(keys.seen(key(1)), Seen::Never);
        keys.take(key(1), SAME, ID);
        keys.take(key(2), SAME, ID);
        assert_eq!(keys.seen(key(1)), Seen::Pending);
        keys.store(key(1), SAME, ID, Timestamp::now(), 5);
        keys.fail(key(2));
        let stored = Seen::Stored { position: 5, lost: false };
        assert_eq!((keys.seen(key(1)), keys.seen(key(2))), (stored, Seen::Never));
    }

    #[test]
    fn what_was_lost_stays_so() {
        let mut keys = keys(10);
        for n in 0..3 {
            keys.store(key(n), SAME, ID, Timestamp::now(), 10 * n as u64);
        }
        keys.lose(10);
        keys.lose(15);
        let lost = |n| matches!(keys.seen(key(n)), Seen::Stored { lost: true, .. });
        assert_eq!([0, 1, 2].map(lost), [false, true, false]);
    }

    #[test]
    fn a_key_belongs_to_what_was_said() {
        let mut keys = keys(10);
        let [one, two] = [b"one", b"two"].map(|said| Fingerprint::of("a", said));
        keys.take(key(1), one, ID);
        assert!(keys.is_of_another(key(1), two) && !keys.is_of_another(key(1), one));
        keys.store(key(1), one, ID, Timestamp::now(), 5);
        assert!(keys.is_of_another(key(1), two) && !keys.is_of_another(key(2), two));
    }

    #[test]
    fn the_window_is_bounded_in_count_bytes_and_time() {
        let mut keys = keys(3);
        for n in 0..5 {
            keys.store(key(n), SAME, ID, Timestamp::now(), n as u64 * 100);
        }
        assert_eq!(keys.seen(key(1)), Seen::Never);
        assert_eq!(keys.seen(key(2)), Seen::Stored { position: 200, lost: false });
        assert_eq!(keys.forget_old(1250), Some(300));
        assert_eq!(keys.seen(key(2)), Seen::Never);
        keys.store(key(9), SAME, ID, Timestamp::from_micros(1), 1100);
        keys.stored.rotate_right(1);
        assert_eq!(keys.forget_old(1250), Some(300));
        assert_eq!(keys.seen(key(9)), Seen::Never);
        assert_eq!(keys.forget_old(10_000), None);
    }
}
