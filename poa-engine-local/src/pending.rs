//! What was accepted and is not on the disk yet.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use poa_core::engine::{Event, TypeSet, encode};
use poa_core::{IdempotencyKey, Message};
use poa_log::Group;

use crate::confirmations::Waiter;

/// More than this many bytes never wait for the log.
const LIMIT: usize = 64 << 20;

/// With more than this, a group is worth writing.
const MUCH: usize = 1 << 20;

/// Events that will go to the log together.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub(crate) group: Group,
    /// Each event, and where it will stand after the beginning of the group.
    pub(crate) entries: Vec<(u64, Event)>,
    pub(crate) promises: Vec<Promise>,
}

/// Somebody waits for some of the entries.
#[derive(Debug)]
pub(crate) struct Promise {
    pub(crate) entries: Range<usize>,
    /// Who has to confirm; nobody but the disk when empty.
    pub(crate) readers: TypeSet,
    pub(crate) waiter: Arc<Waiter>,
}

/// A place among the accepted events.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mark {
    /// The number of an entry in [`Pending`].
    Entry(usize),
    /// A position.
    Position(u64),
}

impl Pending {
    /// Whether nothing more may be added, when so many bytes wait elsewhere.
    pub(crate) fn is_full(&self, elsewhere: usize) -> bool {
        self.bytes() + elsewhere >= LIMIT
    }

    /// What it takes in the log.
    pub(crate) fn bytes(&self) -> usize {
        self.group.bytes().len()
    }

    /// Whether nobody waits for these, and they are few.
    pub(crate) fn may_linger(&self) -> bool {
        self.promises.is_empty() && self.group.bytes().len() < MUCH
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether it can be tried again as it is.
    pub(crate) fn is_small_and_promised_to_nobody(&self) -> bool {
        let small = self.entries.len() == 1 || self.bytes() < 2 * Untaken::AT_ONCE;
        small && self.promises.is_empty()
    }

    pub(crate) fn push(&mut self, event: Event) {
        let offset = self.group.push(|bytes| encode(&event, bytes));
        self.entries.push((offset, event));
    }

    pub(crate) fn clear(&mut self) {
        self.group.clear();
        self.entries.clear();
        self.promises.clear();
    }

    /// After the log failed: tells those who wait that their messages are not stored. Returns the keys of these messages, and the
    /// other events, which were promised no more than memory.
    pub(crate) fn fail(&mut self) -> (Vec<IdempotencyKey>, Vec<Event>) {
        let mut refused = vec![false; self.entries.len()];
        for promise in self.promises.drain(..) {
            refused[promise.entries].fill(true);
            promise.waiter.not_stored();
        }
        let (mut keys, mut kept) = (Vec::new(), Vec::new());
        for ((_, event), refused) in self.entries.drain(..).zip(refused) {
            match &event {
                _ if !refused => kept.push(event),
                Event::Message(message) => keys.extend(message.idempotency_key()),
                Event::Activity(_) => {}
            }
        }
        self.group.clear();
        (keys, kept)
    }
}

/// What the log did not take and will be tried again, in small groups: a disk that is nearly full has room for one of these, and none
/// is encoded again each time.
#[derive(Debug, Default)]
pub(crate) struct Untaken(VecDeque<Pending>);

impl Untaken {
    /// So much is tried at once.
    const AT_ONCE: usize = 1 << 20;

    /// Takes what is left of a group behind everything else.
    pub(crate) fn keep(&mut self, events: Vec<Event>) {
        for event in events {
            match self.0.back_mut().filter(|last| last.bytes() < Self::AT_ONCE) {
                Some(last) => last.push(event),
                None => {
                    let mut group = Pending::default();
                    group.push(event);
                    self.0.push_back(group);
                }
            }
        }
    }

    /// Takes a group back that came from here.
    pub(crate) fn put_back(&mut self, group: Pending) {
        self.0.push_front(group);
    }

    /// The oldest group.
    pub(crate) fn next(&mut self) -> Option<Pending> {
        self.0.pop_front()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.iter().map(Pending::bytes).sum()
    }

    /// Gives all of it up. Returns the messages.
    pub(crate) fn give_up(&mut self) -> Vec<Message> {
        let events = self.0.drain(..).flat_map(|group| group.entries);
        events
            .filter_map(|(_, event)| match event {
                Event::Message(message) => Some(message),
                Event::Activity(_) => None,
            })
            .collect()
    }
}
