//! The state that all subscribers share, under one lock, so that a message goes to all of them or to none.

use std::collections::HashMap;
use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;
use poa_core::engine::{Event, IdGenerator, KeyWindow, Party, Refused, TypeSet};
use poa_core::{Activity, AgentId, DataType, DataTypes, Draft, Message, MessageId, Timestamp};

use crate::bounds::Stretch;
use crate::cursors::{Cursor, Cursors};
use crate::fair::{Fair, Owner, Share};
use crate::keys::Keys;
use crate::load::Load;
use crate::pending::Pending;
use crate::records::Unfinished;
use crate::shed::Shed;
use crate::subscriber::{Subscriber, Terms};
use crate::tail::Tail;

/// The amount of data on the disk that is kept in memory as well.
const WINDOW: usize = 16 << 20;

/// The state from before the engine was opened.
#[derive(Debug)]
pub(crate) struct Past {
    pub(crate) keys: Keys,
    pub(crate) ids: IdGenerator,
}

impl Past {
    /// No earlier state.
    pub(crate) fn none(window: KeyWindow) -> Self {
        Self { keys: Keys::new(window), ids: IdGenerator::new() }
    }
}

/// The stage of the engine's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Subscribers are added; messages are not accepted yet.
    Opening,
    Open,
    /// Nothing more is accepted.
    Closing,
    /// Nothing more is released.
    Closed,
    /// Nothing more is confirmed.
    Finished,
}

/// The events for which the writer of the log is woken, if it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writer {
    /// Any event.
    Ready,
    /// The one that completes a group of this size.
    Gathers { until: usize },
    /// One that cannot wait.
    Lingers,
}

/// Reports whether the cursors were written.
pub(crate) type Note = tokio::sync::oneshot::Sender<Result<(), String>>;

/// Events that were dropped from memory, to be freed outside of the lock.
pub(crate) type Garbage = Vec<(u64, Event)>;

/// All subscribers, and the source of positions: the position in the log, or a number if there is none.
#[derive(Debug)]
pub(crate) struct State {
    /// The position of the next event to be released.
    pub(crate) end: u64,
    pub(crate) tail: Tail,
    /// A removed subscriber leaves its slot empty, because handles refer to slots by number.
    pub(crate) subscribers: Vec<Option<Subscriber>>,
    /// The types that some subscriber wants.
    subscribed: TypeSet,
    pub(crate) keys: Keys,
    /// The events that wait for the log, if there is one.
    pub(crate) pending: Option<Pending>,
    /// Why the log could not be written, until it is written again.
    pub(crate) failure: Option<String>,
    /// Bytes that the log did not take, and that will be tried again.
    pub(crate) untaken: usize,
    /// Messages that were accepted and are lost, because the log could not be written when the engine ended.
    pub(crate) lost: u64,
    /// The state of the thread that writes the log.
    pub(crate) writer: Writer,
    pub(crate) stage: Stage,
    /// Callers that wait until the positions of subscribers are durable.
    pub(crate) notes: Vec<Note>,
    ids: IdGenerator,
    fair: Fair,
    /// Keyed at random in each process, so that a sender cannot know whose counter it shares.
    hasher: RandomState,
    /// The last change of each agent, to be delivered once there is room.
    changes: HashMap<AgentId, Activity>,
}

impl State {
    pub(crate) fn new(types: DataTypes, end: u64, pending: Option<Pending>, past: Past) -> Self {
        let window = pending.as_ref().map(|_| WINDOW);
        Self {
            end,
            tail: Tail::new(types, end, window),
            subscribers: Vec::new(),
            subscribed: TypeSet::default(),
            keys: past.keys,
            pending,
            failure: None,
            untaken: 0,
            lost: 0,
            writer: Writer::Ready,
            stage: Stage::Opening,
            notes: Vec::new(),
            ids: past.ids,
            fair: Fair::default(),
            hasher: RandomState::default(),
            changes: HashMap::new(),
        }
    }

    /// Adds a subscriber that continues at a cursor, or lets it take over from the one of the same name. Returns its number and
    /// generation.
    pub(crate) fn subscribe(
        &mut self,
        terms: Terms,
        shed: Shed,
        left: Option<Cursor>,
    ) -> (usize, u64) {
        let name = terms.name.clone();
        let found = self.active().position(|(_, known)| known.terms.name == name);
        let place = match found.and_then(|nth| self.active().nth(nth).map(|(place, _)| place)) {
            Some(place) => {
                if let Some(known) = &mut self.subscribers[place] {
                    known.take_over(terms, &self.tail);
                }
                place
            }
            None => {
                let mut new = Subscriber::new(terms, shed, left, self.end);
                new.count_what_waits(&self.tail);
                self.subscribers.push(Some(new));
                self.subscribers.len() - 1
            }
        };
        self.note_subscriptions();
        (place, self.subscribers[place].as_ref().map_or(0, |subscriber| subscriber.generation))
    }

    /// Removes the subscriber of this name, with its backlog.
    pub(crate) fn unsubscribe(&mut self, name: &str) -> Garbage {
        for place in &mut self.subscribers {
            if place.as_ref().is_some_and(|subscriber| &*subscriber.terms.name == name)
                && let Some(mut removed) = place.take()
            {
                removed.wake();
                removed.confirmations.settle(u64::MAX);
                removed.shed.wake.notify_one();
                self.note_subscriptions();
                return self.trim(&removed);
            }
        }
        Garbage::new()
    }

    fn note_subscriptions(&mut self) {
        self.subscribed =
            self.active().fold(TypeSet::default(), |all, (_, one)| all.union(one.terms.types));
        let some_are_critical = self.active().any(|(_, subscriber)| subscriber.terms.critical);
        for subscriber in self.subscribers.iter_mut().flatten() {
            subscriber.terms.counts = subscriber.terms.critical || !some_are_critical;
        }
    }

    pub(crate) fn active(&self) -> impl Iterator<Item = (usize, &Subscriber)> {
        let each = self.subscribers.iter().enumerate();
        each.filter_map(|(place, subscriber)| Some((place, subscriber.as_ref()?)))
    }

    pub(crate) fn is_subscribed(&self, data_type: &DataType) -> bool {
        self.subscribed.contains(data_type)
    }

    /// Whether these messages may be accepted.
    pub(crate) fn admit(&self, drafts: &[Draft], now: Timestamp) -> Result<(), Refused> {
        if self.stage != Stage::Open {
            return Err(Refused::Stopping);
        }
        if self.is_log_busy() {
            return Err(Refused::LogBusy);
        }
        if drafts.iter().any(|draft| self.is_key_of_another(draft)) {
            return Err(Refused::KeyReused);
        }
        let full = |subscriber: &&Subscriber| !subscriber.admits(drafts, now, self.end, &self.tail);
        match self.active().map(|(_, subscriber)| subscriber).find(full) {
            Some(full) => Err(Refused::BacklogFull { receiver: full.terms.name.clone() }),
            None => self.admit_share(drafts),
        }
    }

    /// Whether the sender is within its share of every backlog that is filling up.
    fn admit_share(&self, drafts: &[Draft]) -> Result<(), Refused> {
        let filling = self.active().filter_map(|(_, one)| Some((one, one.filling(self.end)?)));
        for (subscriber, (used, most)) in filling {
            let mut takes = drafts.iter().filter(|draft| subscriber.takes(draft));
            let Some(draft) = takes.next() else { continue };
            let share = self.fair.share(self.owner(draft), used, most);
            match share {
                Share::Over => {
                    let of = if draft.sender().is_some() { Party::User } else { Party::Agent };
                    return Err(Refused::OverShare { of, what: "backlog" });
                }
                Share::Alone if !subscriber.sheds() => {
                    return Err(Refused::BacklogFull { receiver: subscriber.terms.name.clone() });
                }
                Share::Alone | Share::Within => {}
            }
        }
        Ok(())
    }

    /// The owner of a message: its user, else its agent.
    fn owner(&self, draft: &Draft) -> Owner {
        let hash = match draft.sender() {
            Some(user) => self.hasher.hash_one(user),
            None => self.hasher.hash_one(draft.agent_id()),
        };
        // Zero is reserved for unknown owners.
        Owner((hash as u32).max(1))
    }

    fn is_log_busy(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.is_full(self.untaken))
    }

    fn is_key_of_another(&self, draft: &Draft) -> bool {
        let key = draft.idempotency_key();
        key.is_some_and(|key| self.keys.is_of_another(key, draft.fingerprint()))
    }

    /// Accepts a change of activity; without room, later, and then only the last one of each agent.
    pub(crate) fn accept_change(&mut self, change: Activity) {
        self.changes.insert(change.agent_id.clone(), change);
        self.accept_changes();
    }

    /// Accepts the changes that wait, if there is room.
    #[inline]
    pub(crate) fn accept_changes(&mut self) {
        if !self.changes.is_empty() && !self.is_log_busy() {
            self.accept_changes_with_room();
        }
    }

    fn accept_changes_with_room(&mut self) {
        if self.active().all(|(_, subscriber)| subscriber.admits_change(self.end, &self.tail)) {
            for change in std::mem::take(&mut self.changes).into_values() {
                self.accept(Event::Activity(change), None);
            }
        }
    }

    /// Accepts a message; one with a key must be new. Returns its id.
    pub(crate) fn accept_message(
        &mut self,
        draft: Draft,
        now: Timestamp,
        record: Option<Unfinished<'_>>,
    ) -> MessageId {
        let id = self.ids.next(now);
        let owner = self.owner(&draft);
        self.fair.charge(owner, draft.footprint() as u64, self.end);
        if let Some(key) = draft.idempotency_key() {
            self.keys.forget_old(self.end);
            self.keys.take(key, draft.fingerprint(), id, owner);
        }
        let record = record.map(|record| record.finish(id, now));
        self.accept(Event::Message(Message::stamp(draft, id, now)), record);
        id
    }

    /// Accepts an event: into the log if there is one, else to the subscribers.
    fn accept(&mut self, event: Event, record: Option<&[u8]>) {
        match &mut self.pending {
            Some(pending) => pending.push(event, record),
            None => {
                let position = self.end;
                self.end += 1;
                self.release(position, event);
            }
        }
    }

    /// The number of events that wait for the log.
    pub(crate) fn pending_events(&self) -> usize {
        self.pending.as_ref().map_or(0, |pending| pending.entries.len())
    }

    /// Whether the writer of the log has to be woken for what was accepted.
    pub(crate) fn is_writer_wanted(&self) -> bool {
        match self.writer {
            Writer::Ready => true,
            Writer::Gathers { until } => self.pending_events() >= until,
            Writer::Lingers => !self.may_linger(),
        }
    }

    /// Whether the events that wait for the log can wait a little longer.
    pub(crate) fn may_linger(&self) -> bool {
        self.stage == Stage::Open && self.pending.as_ref().is_none_or(Pending::may_linger)
    }

    /// Releases an event to its subscribers, which are not woken yet.
    fn release(&mut self, position: u64, event: Event) {
        if let Event::Message(message) = &event {
            self.settle_key(message, position);
        }
        let load = Load::of(&event);
        let mut is_wanted = false;
        for subscriber in self.subscribers.iter_mut().flatten() {
            if event.is_for(subscriber.terms.types) {
                subscriber.released(load);
                is_wanted = true;
            }
        }
        if is_wanted {
            self.tail.push(position, event, load.bytes);
        }
    }

    /// Releases what has become durable. `begin` is its position in the log, `end` that of the next group.
    pub(crate) fn release_group(
        &mut self,
        entries: std::vec::Drain<'_, (u64, Event)>,
        begin: u64,
        end: u64,
    ) -> Garbage {
        for (offset, event) in entries {
            self.release(begin + offset, event);
        }
        self.end = end;
        self.tail.evict()
    }

    /// Wakes the waiting subscribers that have enough events, and sheds the excess.
    pub(crate) fn wake_subscribers(&mut self) -> Garbage {
        let mut garbage = Garbage::new();
        for place in 0..self.subscribers.len() {
            let Some(subscriber) = &mut self.subscribers[place] else { continue };
            subscriber.move_along(self.end);
            if !subscriber.needs_a_look() {
                continue;
            }
            if subscriber.sheds() {
                let before = subscriber.ahead.next;
                subscriber.shed_in_memory(self.end, &self.tail);
                let has_more = subscriber.has_to_shed(self.end, &self.tail);
                if has_more || subscriber.in_hand_to_shed(self.end).is_some() {
                    subscriber.shed.wake.notify_one();
                }
                subscriber.wake_if_wanted(&self.tail, &mut self.keys);
                if subscriber.ahead.next != before {
                    garbage.extend(self.trim_for(place));
                }
            } else {
                subscriber.wake_if_wanted(&self.tail, &mut self.keys);
            }
        }
        garbage
    }

    /// Hands out the events of a stretch, except those that have to be shed. `exact` is false if some of the stretch could not be
    /// read.
    pub(crate) fn hand_out(&mut self, place: usize, stretch: Stretch) -> Vec<(u64, Event)> {
        let Some(subscriber) = &mut self.subscribers[place] else { return Vec::new() };
        let left = subscriber.shed_first(stretch, self.end, &self.tail);
        subscriber.take_in_hand(&left.events);
        let since = left.events.last().map(|(_, event)| event.since());
        subscriber.move_to(left.next, since, &self.tail);
        left.events
    }

    /// The next events of a subscriber, if they are in memory.
    pub(crate) fn read_memory(&self, place: usize, limit: Load) -> Option<Stretch> {
        let subscriber = self.subscribers[place].as_ref()?;
        let from = subscriber.ahead.next;
        if !subscriber.is_in_memory(&self.tail) {
            return None;
        }
        let events = self.tail.read(&subscriber.terms.lanes, from, self.end, limit);
        let next = self.tail.after(&subscriber.terms.lanes, &events).unwrap_or(self.end);
        Some(Stretch { events, next })
    }

    /// A subscriber has confirmed everything in flight, except for the events at `failed`.
    pub(crate) fn confirm(&mut self, place: usize, failed: &[u64]) -> Garbage {
        let Some(subscriber) = &mut self.subscribers[place] else { return Garbage::new() };
        subscriber.confirm(failed, &self.tail, &mut self.keys);
        let mut garbage = self.trim_for(place);
        if self.pending.is_none() && !self.changes.is_empty() {
            self.accept_changes();
            garbage.extend(self.wake_subscribers());
        }
        garbage
    }

    /// Drops from memory what this subscriber was the last to need.
    pub(crate) fn trim_for(&mut self, place: usize) -> Garbage {
        let needed = self.active().map(|(_, subscriber)| subscriber.keeps_from()).min();
        self.fair.release_before(needed.unwrap_or(self.end));
        let Some(subscriber) = self.subscribers[place].take() else { return Garbage::new() };
        let keeps_from = subscriber.keeps_from();
        let garbage = self.trim_lanes(&subscriber, keeps_from);
        self.subscribers[place] = Some(subscriber);
        garbage
    }

    fn trim(&mut self, removed: &Subscriber) -> Garbage {
        self.trim_lanes(removed, u64::MAX)
    }

    fn trim_lanes(&mut self, subscriber: &Subscriber, keeps_from: u64) -> Garbage {
        let others: Vec<_> =
            self.active().map(|(_, other)| (&other.terms.lanes, other.keeps_from())).collect();
        let keep = |lane| {
            let needing = others.iter().filter(|(lanes, _)| lanes.contains(lane));
            needing.map(|(_, from)| *from).fold(keeps_from, u64::min)
        };
        // The lanes are borrowed from subscribers, which are not changed.
        let keep: HashMap<usize, u64> =
            subscriber.terms.lanes.iter().map(|lane| (lane, keep(lane))).collect();
        self.tail.trim(&subscriber.terms.lanes, |lane| keep.get(&lane).copied().unwrap_or(0))
    }

    pub(crate) fn close(&mut self) {
        self.stage = self.stage.max(Stage::Closed);
        for subscriber in self.subscribers.iter_mut().flatten() {
            subscriber.wake();
        }
    }

    /// The cursor of each subscriber, and the part of the log that the deduplication window needs.
    pub(crate) fn cursors(&mut self) -> Cursors {
        // Messages stored after this was written have to be searched for keys as well.
        let keys_from = self.keys.forget_old(self.end).unwrap_or(self.end);
        let cursors = self.active().map(|(_, subscriber)| {
            (subscriber.terms.name.to_string(), subscriber.cursor(&self.tail, self.end))
        });
        Cursors::new(cursors.collect(), keys_from, self.ids.time())
    }
}
