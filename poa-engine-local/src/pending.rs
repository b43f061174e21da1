//! Events that were accepted and are not on the disk yet.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use poa_core::engine::{Event, TypeSet, encode};
use poa_core::{IdempotencyKey, Message};
use poa_log::Group;

use crate::confirmations::Waiter;

/// The most bytes that may wait for the log.
const LIMIT: usize = 64 << 20;

/// Above this number of bytes, a group is written without waiting for more.
const MUCH: usize = 1 << 20;

/// Events that will be written to the log together.
///
/// Their senders bring the records of most of them along, encoded before they took the lock that all share. The thread that writes the
/// log encodes the rest.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    group: Group,
    /// Each event, and its offset from the beginning of the group once its record is there.
    pub(crate) entries: Vec<(u64, Event)>,
    pub(crate) promises: Vec<Promise>,
    /// The size of the events in memory.
    bytes: usize,
}

/// A receipt that waits for some of the entries.
#[derive(Debug)]
pub(crate) struct Promise {
    pub(crate) entries: Range<usize>,
    /// The readers that have to confirm; only the disk if empty.
    pub(crate) readers: TypeSet,
    pub(crate) waiter: Arc<Waiter>,
}

/// A position among the accepted events.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mark {
    /// The number of an entry in [`Pending`].
    Entry(usize),
    /// A position.
    Position(u64),
}

impl Pending {
    /// Whether nothing more may be added, with this many bytes waiting elsewhere.
    pub(crate) fn is_full(&self, elsewhere: usize) -> bool {
        self.bytes + elsewhere >= LIMIT
    }

    /// The size of the events in memory, a little more than in the log.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether no receipt waits for these events, and they are few.
    pub(crate) fn may_linger(&self) -> bool {
        self.promises.is_empty() && self.bytes < MUCH
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether it can be tried again unchanged.
    pub(crate) fn is_small_and_promised_to_nobody(&self) -> bool {
        let small = self.entries.len() == 1 || self.bytes() < 2 * Untaken::AT_ONCE;
        small && self.promises.is_empty()
    }

    /// Adds an event, with its record if the sender has encoded it.
    pub(crate) fn push(&mut self, event: Event, record: Option<&[u8]>) {
        self.bytes += event.footprint();
        let offset = match record {
            // Records are in the order of the events, and of those that wait for long not all are in memory twice.
            Some(record) if self.is_all_encoded() && self.group.bytes().len() < MUCH => {
                self.group.push(|bytes| bytes.extend_from_slice(record))
            }
            _ => 0,
        };
        self.entries.push((offset, event));
    }

    fn is_all_encoded(&self) -> bool {
        self.group.len() == self.entries.len()
    }

    /// The records of all events.
    pub(crate) fn encoded(&mut self) -> &Group {
        for (offset, event) in &mut self.entries[self.group.len()..] {
            *offset = self.group.push(|bytes| encode(event, bytes));
        }
        &self.group
    }

    pub(crate) fn clear(&mut self) {
        self.bytes = 0;
        self.group.clear();
        self.entries.clear();
        self.promises.clear();
    }

    /// After the log failed: fails the receipts of messages that are not stored. Returns the keys of these messages, and the other
    /// events, which were acknowledged from memory.
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
        self.clear();
        (keys, kept)
    }
}

/// Events that the log did not take and that will be tried again, in small groups: one of these fits on a disk that is nearly full,
/// and none is encoded again each time.
#[derive(Debug, Default)]
pub(crate) struct Untaken(VecDeque<Pending>);

impl Untaken {
    /// The amount that is tried at once.
    const AT_ONCE: usize = 1 << 20;

    /// Appends the rest of a group to the queue.
    pub(crate) fn keep(&mut self, events: Vec<Event>) {
        for event in events {
            match self.0.back_mut().filter(|last| last.bytes() < Self::AT_ONCE) {
                Some(last) => last.push(event, None),
                None => {
                    let mut group = Pending::default();
                    group.push(event, None);
                    self.0.push_back(group);
                }
            }
        }
    }

    /// Takes back a group that came from here.
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

    /// Discards everything. Returns the messages.
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
