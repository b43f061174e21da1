//! What was accepted and is not on the disk yet.

use std::ops::Range;
use std::sync::Arc;

use poa_log::Group;

use super::{Event, Waiter, codec};
use crate::IdempotencyKey;
use crate::data_type::TypeSet;

/// More than this many bytes never wait for the log.
const LIMIT: usize = 64 << 20;

/// Events that will go to the log together.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) group: Group,
    /// Each event, and where it will stand after the beginning of the group.
    pub(super) entries: Vec<(u64, Event)>,
    pub(super) promises: Vec<Promise>,
}

/// Somebody waits for some of the entries.
#[derive(Debug)]
pub(super) struct Promise {
    pub(super) entries: Range<usize>,
    /// Who has to confirm; nobody but the disk when empty.
    pub(super) readers: TypeSet,
    pub(super) waiter: Arc<Waiter>,
}

/// A place among the accepted events.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mark {
    /// The number of an entry in [`Pending`].
    Entry(usize),
    /// A position.
    Position(u64),
}

impl Pending {
    pub(super) fn is_full(&self) -> bool {
        self.group.bytes().len() >= LIMIT
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn push(&mut self, event: Event) {
        let offset = self.group.push(|bytes| codec::encode(&event, bytes));
        self.entries.push((offset, event));
    }

    pub(super) fn clear(&mut self) {
        self.group.clear();
        self.entries.clear();
        self.promises.clear();
    }

    /// After the log failed: tells those who wait that their messages are not stored, and keeps the others, which were
    /// promised no more than memory. Returns the keys of those that are not stored.
    pub(super) fn fail(&mut self) -> Vec<IdempotencyKey> {
        let mut refused = vec![false; self.entries.len()];
        for promise in self.promises.drain(..) {
            refused[promise.entries].fill(true);
            promise.waiter.not_stored();
        }
        let entries = std::mem::take(&mut self.entries);
        let mut keys = Vec::new();
        self.group.clear();
        for ((_, event), refused) in entries.into_iter().zip(refused) {
            match &event {
                _ if !refused => self.push(event),
                Event::Message(message) => keys.extend(message.idempotency_key()),
                Event::Activity(_) => {}
            }
        }
        keys
    }

    /// Puts these events behind the ones kept here.
    pub(super) fn append(&mut self, later: &mut Pending) {
        let before = self.entries.len();
        for (_, event) in later.entries.drain(..) {
            self.push(event);
        }
        for mut promise in later.promises.drain(..) {
            promise.entries = promise.entries.start + before..promise.entries.end + before;
            self.promises.push(promise);
        }
        later.clear();
    }
}
