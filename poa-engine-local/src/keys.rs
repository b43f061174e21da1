//! The deduplication window: recognises messages that are sent again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use poa_core::engine::{Fingerprint, KeyWindow, TypeSet};
use poa_core::{IdempotencyKey, MessageId, Timestamp};

use crate::confirmations::Waiter;
use crate::fair::Owner;

/// One owner may have this multiple of the free room for keys: a single owner fills eight ninths of the window before its own oldest keys
/// are removed.
const TIMES_FREE: usize = 8;

/// The keys of recently accepted messages.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    window: KeyWindow,
    known: HashMap<IdempotencyKey, Known>,
    /// Keys of stored messages, the oldest first, each with its time and its position in the log.
    stored: VecDeque<(Timestamp, u64, IdempotencyKey)>,
    /// The stored keys of each owner, the oldest first.
    owners: HashMap<Owner, VecDeque<u64>>,
    /// Entries of `stored` whose keys were removed early.
    forgotten: usize,
}

#[derive(Debug)]
struct Known {
    id: MessageId,
    fingerprint: Fingerprint,
    owner: Owner,
    state: State,
}

#[derive(Debug)]
enum State {
    /// On its way to the log. These receipts wait for it to be stored.
    Pending(Vec<Follower>),
    /// At this position. Lost if a critical reader will not get it.
    Stored { position: u64, lost: bool },
}

/// A client that sent a message again while it was on its way to the log.
#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) waiter: Arc<Waiter>,
    /// The readers that have to confirm; only the disk if empty.
    pub(crate) readers: TypeSet,
}

/// The state of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Never,
    /// Its message is on its way to the log.
    Pending,
    /// Its message is at this position.
    Stored {
        position: u64,
        /// A critical reader will not get it.
        lost: bool,
    },
}

impl Keys {
    /// With this many receipts waiting for one key, dropped ones are removed.
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

    /// The id of the message that was accepted with this key.
    pub(crate) fn id_of(&self, key: IdempotencyKey) -> Option<MessageId> {
        self.known.get(&key).map(|known| known.id)
    }

    /// Whether this key was used for a message with different content.
    pub(crate) fn is_of_another(&self, key: IdempotencyKey, fingerprint: Fingerprint) -> bool {
        self.known.get(&key).is_some_and(|known| known.fingerprint != fingerprint)
    }

    /// The message of this key was accepted.
    pub(crate) fn take(
        &mut self,
        key: IdempotencyKey,
        fingerprint: Fingerprint,
        id: MessageId,
        owner: Owner,
    ) {
        let state = State::Pending(Vec::new());
        self.known.insert(key, Known { id, fingerprint, owner, state });
    }

    /// A receipt waits for the result of a pending key.
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

    /// The message of this key is stored at this position. Returns the receipts that wait for that.
    pub(crate) fn store(
        &mut self,
        key: IdempotencyKey,
        fingerprint: Fingerprint,
        id: MessageId,
        time: Timestamp,
        position: u64,
    ) -> Vec<Follower> {
        // The owners of keys from before a restart are unknown.
        let owner = self.known.get(&key).map_or(Owner::default(), |known| known.owner);
        self.make_room(owner);
        let state = State::Stored { position, lost: false };
        let before = self.known.insert(key, Known { id, fingerprint, owner, state });
        self.stored.push_back((time, position, key));
        self.owners.entry(owner).or_default().push_back(position);
        match before {
            Some(Known { state: State::Pending(followers), .. }) => followers,
            _ => Vec::new(),
        }
    }

    /// Makes room for a key of this owner: removes its own oldest key if it exceeds its share, else the oldest of all if there are too
    /// many.
    fn make_room(&mut self, owner: Owner) {
        let stored = self.stored.len() - self.forgotten;
        let free = self.window.keys.saturating_sub(stored);
        let own = self.owners.get(&owner);
        let held = own.map_or(0, VecDeque::len);
        match own.and_then(VecDeque::front) {
            Some(oldest) if held > free.saturating_mul(TIMES_FREE) => self.forget_at(*oldest),
            _ if free == 0 => self.forget_oldest(),
            _ => {}
        }
    }

    /// Removes the key at this position early.
    fn forget_at(&mut self, position: u64) {
        let at = self.stored.partition_point(|(_, other, _)| *other < position);
        if let Some((_, _, key)) = self.stored.get(at) {
            let key = *key;
            self.forget(key, position);
            self.forgotten += 1;
        }
        if self.forgotten > self.stored.len() / 2 + 1024 {
            let Self { known, stored, .. } = self;
            stored.retain(|(_, position, key)| is_at(known, key, *position));
            self.forgotten = 0;
        }
    }

    fn forget(&mut self, key: IdempotencyKey, position: u64) {
        let Some(known) = self.known.remove(&key) else { return };
        let Some(own) = self.owners.get_mut(&known.owner) else { return };
        if let Ok(at) = own.binary_search(&position) {
            own.remove(at);
        }
        if own.is_empty() {
            self.owners.remove(&known.owner);
        }
    }

    /// The message of this key could not be stored.
    pub(crate) fn fail(&mut self, key: IdempotencyKey) {
        let known = self.known.remove(&key);
        if let Some(Known { state: State::Pending(followers), .. }) = known {
            followers.iter().for_each(|follower| follower.waiter.not_stored());
        }
    }

    /// A critical reader will not get the event at this position.
    pub(crate) fn lose(&mut self, position: u64) {
        let at = self.stored.partition_point(|(_, other, _)| *other < position);
        let Some((_, _, key)) = self.stored.get(at).filter(|(_, other, _)| *other == position)
        else {
            return;
        };
        match self.known.get_mut(key).map(|known| &mut known.state) {
            Some(State::Stored { lost, position: other }) if *other == position => *lost = true,
            _ => {}
        }
    }

    /// Removes the keys outside of the window; `end` is the end of the log. Returns the position in the log at which the window begins, if
    /// it has a key.
    pub(crate) fn forget_old(&mut self, end: u64) -> Option<u64> {
        while let Some((time, position, key)) = self.stored.front() {
            if self.forgotten > 0 && !is_at(&self.known, key, *position) {
                self.stored.pop_front();
                self.forgotten -= 1;
                continue;
            }
            let far = end.saturating_sub(*position) > self.window.log_bytes;
            if !far && time.elapsed() <= self.window.time {
                return Some(*position);
            }
            self.forget_oldest();
        }
        None
    }

    /// Removes the oldest key that was not removed early.
    fn forget_oldest(&mut self) {
        while let Some((_, position, key)) = self.stored.pop_front() {
            if is_at(&self.known, &key, position) {
                return self.forget(key, position);
            }
            self.forgotten = self.forgotten.saturating_sub(1);
        }
    }
}

/// Whether the key is stored at this position, and not elsewhere since.
fn is_at(known: &HashMap<IdempotencyKey, Known>, key: &IdempotencyKey, position: u64) -> bool {
    matches!(known.get(key), Some(Known { state: State::Stored { position: at, .. }, .. }) if *at == position)
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
    const ONE: Owner = Owner(1);

    /// The keys of an owner who sends few messages, and of one who sends many.
    #[test]
    fn a_flood_of_keys_evicts_only_those_of_its_owner() {
        let mut keys = keys(1000);
        keys.window.log_bytes = u64::MAX;
        let mut store = |n: usize, owner| {
            keys.take(key(n), SAME, ID, owner);
            keys.store(key(n), SAME, ID, Timestamp::now(), n as u64);
        };
        (0..50).for_each(|n| store(n, ONE));
        (50..100_000).for_each(|n| store(n, Owner(2)));
        assert!((0..50).all(|n| keys.seen(key(n)) != Seen::Never));
        assert!((99_500..100_000).all(|n| keys.seen(key(n)) != Seen::Never));
        assert!(keys.known.len() <= 1000 && keys.stored.len() <= 4000, "{}", keys.stored.len());
        assert_eq!(keys.owners.values().map(VecDeque::len).sum::<usize>(), keys.known.len());
        assert_eq!(keys.forget_old(u64::MAX), Some(0));
    }

    #[test]
    fn a_key_is_pending_then_stored_or_removed() {
        let mut keys = keys(10);
        assert_eq!(keys.seen(key(1)), Seen::Never);
        keys.take(key(1), SAME, ID, ONE);
        keys.take(key(2), SAME, ID, ONE);
        assert_eq!(keys.seen(key(1)), Seen::Pending);
        keys.store(key(1), SAME, ID, Timestamp::now(), 5);
        keys.fail(key(2));
        let stored = Seen::Stored { position: 5, lost: false };
        assert_eq!((keys.seen(key(1)), keys.seen(key(2))), (stored, Seen::Never));
    }

    #[test]
    fn a_lost_message_stays_lost() {
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
    fn a_key_belongs_to_its_content() {
        let mut keys = keys(10);
        let [one, two] = [b"one", b"two"].map(|said| Fingerprint::of("a", said));
        keys.take(key(1), one, ID, ONE);
        assert!(keys.is_of_another(key(1), two) && !keys.is_of_another(key(1), one));
        keys.store(key(1), one, ID, Timestamp::now(), 5);
        assert!(keys.is_of_another(key(1), two) && !keys.is_of_another(key(2), two));
    }

    #[test]
    fn the_window_is_limited_in_count_bytes_and_time() {
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
