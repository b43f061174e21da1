//! The queues of all readers, under one lock, so that a message goes to all of them or to none.

use std::sync::Arc;

use tokio::sync::Notify;

use super::cursors::{Cursor, Cursors};
use super::keys::{Keys, Seen};
use super::pending::{Mark, Pending, Promise};
use super::place::Place;
use super::{Receipt, Refused, Taken, Waiter};
use crate::data_type::TypeSet;
use crate::id::IdGenerator;
use crate::{Ack, Activity, DataType, Draft, IdempotencyKey, Message, Timestamp};

/// What readers read.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A message, for the readers of its type.
    Message(Message),
    /// An agent changed its state; for every reader.
    Activity(Activity),
}

impl Event {
    pub(super) fn is_for(&self, types: TypeSet) -> bool {
        match self {
            Self::Message(message) => types.contains(message.data_type()),
            Self::Activity(_) => true,
        }
    }

    /// When a message was received. A change of activity has no time to lose.
    pub(super) fn received_at(&self) -> Option<Timestamp> {
        match self {
            Self::Message(message) => Some(message.received_at()),
            Self::Activity(_) => None,
        }
    }

    pub(super) fn footprint(&self) -> usize {
        match self {
            Self::Message(message) => message.footprint(),
            Self::Activity(change) => size_of::<Self>() + change.agent_id.as_str().len(),
        }
    }
}

/// Those who only waited until their messages were on the disk.
pub(super) type Stored = Vec<Arc<Waiter>>;

/// All readers, and what gives every event its position: its place in the log, or its number if there is none.
#[derive(Debug)]
pub(crate) struct Queue {
    end: u64,
    ids: IdGenerator,
    pub(super) places: Vec<Place>,
    pub(super) keys: Keys,
    /// What waits for the log, if there is one.
    pub(super) pending: Option<Pending>,
    /// Nothing more is taken.
    pub(super) closing: bool,
    /// Nothing more comes.
    pub(super) closed: bool,
    /// No reader confirms anything any more.
    pub(super) finished: bool,
}

impl Queue {
    pub(super) fn new(end: u64, pending: Option<Pending>, keys: Keys) -> Self {
        Self {
            end,
            ids: IdGenerator::new(),
            places: Vec::new(),
            keys,
            pending,
            closing: false,
            closed: false,
            finished: false,
        }
    }

    /// The position of the next event to come.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Adds a reader, which begins here, or at the end. Returns its number, and what wakes it.
    pub(super) fn add_reader(
        &mut self,
        mut place: Place,
        begin: Option<Cursor>,
    ) -> (usize, Arc<Notify>) {
        if self.pending.is_some() {
            place.read_from_disk_when_behind();
        }
        if let Some(cursor) = begin {
            place.resume(cursor, self.end);
        }
        let wake = place.wake.clone();
        self.places.push(place);
        (self.places.len() - 1, wake)
    }

    pub(super) fn has_reader_of(&self, data_type: &DataType) -> bool {
        self.places.iter().any(|place| place.types.contains(data_type))
    }

    /// Whether these messages may be accepted.
    pub(super) fn admit(&self, drafts: &[Draft], now: Timestamp) -> Result<(), Refused> {
        if self.closing {
            return Err(Refused::Stopping);
        }
        if self.pending.as_ref().is_some_and(Pending::is_full) {
            return Err(Refused::LogBusy);
        }
        match self.places.iter().find(|place| !place.admits(drafts, now)) {
            Some(full) => Err(Refused::BacklogFull { receiver: full.name.clone() }),
            None => Ok(()),
        }
    }

    pub(super) fn accept_message(&mut self, draft: Draft, now: Timestamp) {
        let id = self.ids.next(now);
        self.accept(Event::Message(Message::stamp(draft, id, now)));
    }

    /// Takes an event: to the log if there is one, else to the readers.
    pub(super) fn accept(&mut self, event: Event) {
        match &mut self.pending {
            Some(pending) => pending.push(event),
            None => {
                self.release(self.end, &event);
                self.end += 1;
            }
        }
    }

    /// What is known of the key of a message that is about to be accepted. A new key is noted.
    pub(super) fn note_key(&mut self, key: IdempotencyKey) -> Seen {
        let seen = self.keys.seen(key);
        if seen == Seen::Never {
            self.keys.forget_old(self.end);
            self.keys.take(key);
        }
        seen
    }

    /// Gives an event to its readers.
    fn release(&mut self, position: u64, event: &Event) {
        if let Event::Message(message) = event
            && let Some(key) = message.idempotency_key()
        {
            self.keys.store(key, message.received_at(), position);
        }
        for place in &mut self.places {
            if event.is_for(place.types) {
                place.push(position, event.clone());
            }
        }
    }

    /// Gives what has become durable to its readers, which are not woken yet. `begin` is where it stands in the log, `end` where
    /// the next group will. Returns those who only waited for that.
    pub(super) fn release_all(&mut self, durable: &mut Pending, begin: u64, end: u64) -> Stored {
        for (offset, event) in &durable.entries {
            self.release(begin + offset, event);
        }
        let mut stored = Vec::new();
        for promise in durable.promises.drain(..) {
            if promise.readers.is_empty() {
                stored.push(promise.waiter);
            } else {
                let from = begin + durable.entries[promise.entries.start].0;
                let last = begin + durable.entries[promise.entries.end - 1].0;
                self.await_readers(&promise, from..last + 1);
            }
        }
        self.end = end;
        stored
    }

    fn await_readers(&mut self, promise: &Promise, range: std::ops::Range<u64>) {
        let critical = self.some_are_critical();
        let places = self.places.iter_mut();
        for place in places.filter(|place| place.has_to_confirm(promise.readers, critical)) {
            place.confirmations.push(range.clone(), promise.waiter.clone());
        }
    }

    /// Where the next accepted event goes; see [`promise`](Self::promise).
    pub(super) fn mark(&self) -> Mark {
        match &self.pending {
            Some(pending) => Mark::Entry(pending.entries.len()),
            None => Mark::Position(self.end),
        }
    }

    /// A receipt for the messages accepted since `mark`, and for those that were accepted before and are still on their way to
    /// the log.
    pub(super) fn promise(&mut self, taken: &Taken, mark: Mark) -> Receipt {
        let readers = match taken.ack {
            Ack::Memory => return Receipt::ready(),
            Ack::Stored => TypeSet::default(),
            Ack::Delivered => taken.routed,
        };
        let critical = self.some_are_critical();
        let places = self.places.iter();
        let count = places.filter(|place| place.has_to_confirm(readers, critical)).count();
        // Without anybody to wait for, it waits for the disk alone.
        let readers = if count == 0 { TypeSet::default() } else { readers };
        let accepted = if taken.routed.is_empty() { 0 } else { count.max(1) };
        if accepted + taken.repeated.len() == 0 {
            return Receipt::ready();
        }
        let (receipt, waiter) = Receipt::waiting_for(accepted + taken.repeated.len());
        for key in &taken.repeated {
            self.keys.wait(*key, waiter.clone());
        }
        if accepted > 0 {
            self.add_promise(readers, mark, waiter);
        }
        receipt
    }

    fn add_promise(&mut self, readers: TypeSet, mark: Mark, waiter: Arc<Waiter>) {
        match (mark, &mut self.pending) {
            (Mark::Entry(from), Some(pending)) => {
                let entries = from..pending.entries.len();
                pending.promises.push(Promise { entries, readers, waiter });
            }
            // Without a log and without anybody critical, there is nothing to wait for.
            (Mark::Position(_), _) if readers.is_empty() => waiter.confirm(true),
            (Mark::Position(from), _) => {
                let promise = Promise { entries: 0..0, readers, waiter };
                self.await_readers(&promise, from..self.end);
            }
            (Mark::Entry(_), None) => unreachable!("marks are made by this queue"),
        }
    }

    fn some_are_critical(&self) -> bool {
        self.places.iter().any(|place| place.critical)
    }

    pub(super) fn wake_readers(&mut self) {
        self.places.iter_mut().for_each(Place::wake_if_wanted);
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
        for place in &mut self.places {
            place.wanted = None;
            place.wake.notify_one();
        }
    }

    /// How far each reader has come, and what of the log is needed to remember keys.
    pub(super) fn cursors(&mut self) -> Cursors {
        // What is stored after this was written down has to be looked through for keys as well.
        let keys_from = self.keys.forget_old(self.end).unwrap_or(self.end);
        let cursors =
            self.places.iter().map(|place| (place.name.to_string(), place.cursor(self.end)));
        Cursors::new(cursors.collect(), keys_from)
    }
}
