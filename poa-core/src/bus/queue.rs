//! The queues of all readers, under one lock, so that a message goes to all of them or to none.

use std::sync::Arc;

use tokio::sync::Notify;

use super::place::Place;
use super::{Backlog, Receipt, Refused};
use crate::data_type::TypeSet;
use crate::id::IdGenerator;
use crate::telemetry::Counter;
use crate::{Activity, DataType, Draft, Message, Timestamp};

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

    pub(super) fn footprint(&self) -> usize {
        match self {
            Self::Message(message) => message.footprint(),
            Self::Activity(change) => size_of::<Self>() + change.agent_id.as_str().len(),
        }
    }
}

/// All readers, and what gives every event its position. Positions count from the start of the process.
#[derive(Debug)]
pub(crate) struct Queue {
    end: u64,
    ids: IdGenerator,
    pub(super) places: Vec<Place>,
    pub(super) closed: bool,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self { end: 0, ids: IdGenerator::new(), places: Vec::new(), closed: false }
    }

    /// The position of the next event to come.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    pub(super) fn add_reader(
        &mut self,
        name: &str,
        types: TypeSet,
        backlog: Backlog,
        skipped: Counter,
    ) -> (usize, Arc<Notify>) {
        let place = Place::new(name, types, backlog, skipped);
        let wake = place.wake.clone();
        self.places.push(place);
        (self.places.len() - 1, wake)
    }

    pub(super) fn has_reader_of(&self, data_type: &DataType) -> bool {
        self.places.iter().any(|place| place.types.contains(data_type))
    }

    /// Whether these messages may be pushed.
    pub(super) fn admit(&self, drafts: &[Draft]) -> Result<(), Refused> {
        if self.closed {
            return Err(Refused::Stopping);
        }
        match self.places.iter().find(|place| !place.admits(drafts)) {
            Some(full) => Err(Refused::BacklogFull { receiver: full.name.clone() }),
            None => Ok(()),
        }
    }

    pub(super) fn push_message(&mut self, draft: Draft, now: Timestamp) {
        let id = self.ids.next(now);
        self.push(&Event::Message(Message::stamp(draft, id, now)));
    }

    pub(super) fn push(&mut self, event: &Event) {
        for place in &mut self.places {
            if event.is_for(place.types) {
                place.push(self.end, event.clone());
            }
        }
        self.end += 1;
    }

    /// A receipt for the messages pushed since `from`, good once every reader of `routed` confirmed them.
    pub(super) fn await_confirmation(&mut self, routed: TypeSet, from: u64) -> Receipt {
        let range = from..self.end;
        let concerned = |place: &Place| place.types.intersects(routed);
        let readers = self.places.iter().filter(|place| concerned(place)).count();
        if readers == 0 {
            return Receipt::ready();
        }
        let (receipt, waiter) = Receipt::waiting_for(readers);
        for place in self.places.iter_mut().filter(|place| concerned(place)) {
            place.confirmations.push(range.clone(), waiter.clone());
        }
        receipt
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
}
