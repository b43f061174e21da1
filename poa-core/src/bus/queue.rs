//! The queues of all readers, under one lock, so that a message goes to all of them or to none.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use tokio::sync::Notify;

use super::cursors::{Cursor, Cursors};
use super::keys::{Follower, KeyWindow, Keys, Seen};
use super::pending::{Mark, Pending, Promise};
use super::place::Place;
use super::{Receipt, Refused, Repeated, Taken, Waiter};
use crate::data_type::TypeSet;
use crate::id::IdGenerator;
use crate::idempotency::Fingerprint;
use crate::{Ack, Activity, AgentId, DataType, Draft, IdempotencyKey, Message, Timestamp};

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

    /// When it came.
    pub(super) fn since(&self) -> Timestamp {
        match self {
            Self::Message(message) => message.received_at(),
            Self::Activity(change) => change.since,
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

/// What a queue knows of the time before it.
#[derive(Debug)]
pub(super) struct Past {
    pub(super) keys: Keys,
    pub(super) ids: IdGenerator,
}

impl Past {
    /// Nothing.
    pub(super) fn none(window: KeyWindow) -> Self {
        Self { keys: Keys::new(window), ids: IdGenerator::new() }
    }
}

/// All readers, and what gives every event its position: its place in the log, or its number if there is none.
#[derive(Debug)]
pub(crate) struct Queue {
    end: u64,
    ids: IdGenerator,
    pub(super) places: Vec<Place>,
    pub(super) keys: Keys,
    /// What waits for the log, if there is one.
    pub(super) pending: Option<Pending>,
    /// Bytes that the log did not take, and that will be tried again.
    pub(super) untaken: usize,
    /// Messages that were accepted and are gone, because the host stopped and the log could not be written.
    pub(super) lost: u64,
    /// The last change of each agent that readers are to be told once there is room.
    changes: HashMap<AgentId, Activity>,
    /// Whoever writes the log is not to be woken before it has to be.
    pub(super) lingering: bool,
    /// Nothing more is taken.
    pub(super) closing: bool,
    /// Nothing more comes.
    pub(super) closed: bool,
    /// No reader confirms anything any more.
    pub(super) finished: bool,
}

impl Queue {
    pub(super) fn new(end: u64, pending: Option<Pending>, past: Past) -> Self {
        Self {
            end,
            ids: past.ids,
            places: Vec::new(),
            keys: past.keys,
            pending,
            untaken: 0,
            lost: 0,
            changes: HashMap::new(),
            lingering: false,
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
        let some_are_critical = self.places.iter().any(|place| place.critical);
        for place in &mut self.places {
            place.counts = place.critical || !some_are_critical;
        }
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
        if self.is_log_busy() {
            return Err(Refused::LogBusy);
        }
        if drafts.iter().any(|draft| self.is_key_of_another(draft)) {
            return Err(Refused::KeyReused);
        }
        match self.places.iter().find(|place| !place.admits(drafts, now, self.end)) {
            Some(full) => Err(Refused::BacklogFull { receiver: full.name.clone() }),
            None => Ok(()),
        }
    }

    fn is_log_busy(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.is_full(self.untaken))
    }

    fn is_key_of_another(&self, draft: &Draft) -> bool {
        draft.key.is_some_and(|key| self.keys.is_of_another(key, draft.fingerprint))
    }

    /// Takes a change of activity; when there is no room, later, and then only the last one of each agent.
    pub(super) fn accept_change(&mut self, change: Activity) {
        self.changes.insert(change.agent_id.clone(), change);
        self.accept_changes();
    }

    /// Takes the changes that wait, if there is room.
    pub(super) fn accept_changes(&mut self) {
        if self.changes.is_empty() || self.is_log_busy() {
            return;
        }
        if self.places.iter().all(|place| place.admits_change(self.end)) {
            for change in std::mem::take(&mut self.changes).into_values() {
                self.accept(Event::Activity(change));
            }
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
    pub(super) fn note_key(&mut self, key: IdempotencyKey, fingerprint: Fingerprint) -> Seen {
        let seen = self.keys.seen(key);
        if seen == Seen::Never {
            self.keys.forget_old(self.end);
            self.keys.take(key, fingerprint);
        }
        seen
    }

    /// Whether what waits for the log can wait a little longer.
    pub(super) fn may_linger(&self) -> bool {
        !self.closing && self.pending.as_ref().is_none_or(Pending::may_linger)
    }

    /// Gives an event to its readers.
    fn release(&mut self, position: u64, event: &Event) {
        if let Event::Message(message) = event
            && let Some(key) = message.idempotency_key()
        {
            let (fingerprint, time) = (message.fingerprint(), message.received_at());
            for follower in self.keys.store(key, fingerprint, time, position) {
                self.answer_once_there(follower, position);
            }
        }
        for place in &mut self.places {
            if event.is_for(place.types) {
                place.push(position, event.clone());
            }
        }
    }

    /// The message that somebody waits for is stored at this position.
    fn answer_once_there(&mut self, Follower { waiter, readers }: Follower, position: u64) {
        if readers.is_empty() {
            waiter.confirm(true);
        } else {
            self.await_readers(readers, position..position + 1, &waiter);
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
                self.await_readers(promise.readers, from..last + 1, &promise.waiter);
            }
        }
        self.end = end;
        stored
    }

    fn await_readers(&mut self, readers: TypeSet, range: Range<u64>, waiter: &Arc<Waiter>) {
        for place in self.places.iter_mut().filter(|place| place.has_to_confirm(readers)) {
            place.confirmations.push(range.clone(), waiter.clone());
        }
    }

    /// How many readers have to confirm messages of these types.
    fn count_confirming(&self, types: TypeSet) -> usize {
        self.places.iter().filter(|place| place.has_to_confirm(types)).count()
    }

    /// Where the next accepted event goes; see [`promise`](Self::promise).
    pub(super) fn mark(&self) -> Mark {
        match &self.pending {
            Some(pending) => Mark::Entry(pending.entries.len()),
            None => Mark::Position(self.end),
        }
    }

    /// A receipt for the messages accepted since `mark`, and for those that were accepted before.
    pub(super) fn promise(&mut self, taken: &Taken, mark: Mark) -> Receipt {
        let delivered = match taken.ack {
            Ack::Memory => return Receipt::ready(),
            Ack::Stored => false,
            Ack::Delivered => true,
        };
        let count = if delivered { self.count_confirming(taken.routed) } else { 0 };
        // Without anybody to wait for, it waits for the disk alone.
        let readers = if count == 0 { TypeSet::default() } else { taken.routed };
        let accepted = if taken.routed.is_empty() { 0 } else { count.max(1) };
        let open: Vec<_> =
            taken.repeated.iter().flat_map(|again| self.still_open(again, delivered)).collect();
        let missing = accepted + open.iter().map(Open::shares).sum::<usize>();
        if missing == 0 {
            return Receipt::ready();
        }
        let (receipt, waiter) = Receipt::waiting_for(missing);
        for open in open {
            self.wait_for(open, &waiter);
        }
        if accepted > 0 {
            self.add_promise(readers, mark, waiter);
        }
        receipt
    }

    /// What is not known yet of a message that was accepted before.
    fn still_open(&self, again: &Repeated, delivered: bool) -> Vec<Open> {
        let readers = if delivered { again.types } else { TypeSet::default() };
        match self.keys.seen(again.key) {
            Seen::Pending => {
                let count = self.count_confirming(readers);
                let readers = if count == 0 { TypeSet::default() } else { readers };
                vec![Open::OnItsWay { key: again.key, readers, count }]
            }
            Seen::Stored { lost: true, .. } if delivered => vec![Open::Lost],
            Seen::Stored { position, .. } => {
                let places = self.places.iter().enumerate();
                places
                    .filter(|(_, place)| place.has_to_confirm(readers))
                    .filter(|(_, place)| place.next(self.end) <= position)
                    .map(|(place, _)| Open::InQueue { place, position })
                    .collect()
            }
            Seen::Never => Vec::new(),
        }
    }

    fn wait_for(&mut self, open: Open, waiter: &Arc<Waiter>) {
        match open {
            Open::OnItsWay { key, readers, .. } => {
                self.keys.follow(key, Follower { waiter: waiter.clone(), readers });
            }
            Open::InQueue { place, position } => {
                let range = position..position + 1;
                self.places[place].confirmations.push(range, waiter.clone());
            }
            Open::Lost => waiter.confirm(false),
        }
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
                self.await_readers(readers, from..self.end, &waiter);
            }
            (Mark::Entry(_), None) => unreachable!("marks are made by this queue"),
        }
    }

    /// A reader has confirmed everything it has read, but for what stands at `failed`.
    pub(super) fn confirm(&mut self, place: usize, failed: &[u64]) {
        self.places[place].confirm(failed, &mut self.keys);
        if self.pending.is_none() && !self.changes.is_empty() {
            self.accept_changes();
            self.wake_readers();
        }
    }

    pub(super) fn wake_readers(&mut self) {
        for place in &mut self.places {
            place.wake_if_wanted(&mut self.keys);
        }
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
        Cursors::new(cursors.collect(), keys_from, self.ids.time())
    }
}

/// What a receipt waits for of a message that was accepted before.
enum Open {
    /// It is not in the log yet, and then so many readers have to confirm it.
    OnItsWay { key: IdempotencyKey, readers: TypeSet, count: usize },
    /// This reader has not confirmed it.
    InQueue { place: usize, position: u64 },
    /// Somebody did not get it.
    Lost,
}

impl Open {
    fn shares(&self) -> usize {
        match self {
            Self::OnItsWay { count, .. } => (*count).max(1),
            Self::InQueue { .. } | Self::Lost => 1,
        }
    }
}
