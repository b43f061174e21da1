//! What waits for one reader.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Notify;

use super::cursors::Cursor;
use super::disk::Chunk;
use super::shed::Shed;
use super::{Backlog, Confirmations, Event, WhenFull};
use crate::config::Size;
use crate::data_type::TypeSet;
use crate::telemetry::Counter;
use crate::{Draft, ReceiverOptions, Timestamp};

/// A number of events and their size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
}

impl Load {
    pub(super) fn of(bytes: usize) -> Self {
        Self { count: 1, bytes }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.count += other.count;
        self.bytes += other.bytes;
    }

    /// Counts that come from before a restart may be too low, so this stops at zero.
    pub(super) fn subtract(&mut self, other: Self) {
        self.count = self.count.saturating_sub(other.count);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }

    pub(super) fn reaches(self, other: Self) -> bool {
        self.count >= other.count || self.bytes >= other.bytes
    }
}

/// What a reader may have in memory before it reads the rest from the log.
const WINDOW: usize = 8 << 20;

/// The queue of one reader. Events are shared between queues, so that a reader costs a pointer for each.
#[derive(Debug)]
pub(crate) struct Place {
    pub(super) name: Arc<str>,
    pub(super) types: TypeSet,
    pub(super) critical: bool,
    backlog: Backlog,
    unread: VecDeque<(u64, Event)>,
    unread_load: Load,
    /// How much of `unread` memory may hold; what comes after it is on the disk alone.
    window: usize,
    /// Where in the log the reader has to go on once `unread` is empty; none when it has everything in memory.
    behind: Option<u64>,
    /// When about the first event there was received.
    behind_since: Option<Timestamp>,
    /// What waits there.
    behind_load: Load,
    /// What was read and not confirmed, and where it begins.
    in_hand: Load,
    in_hand_from: Option<u64>,
    in_hand_since: Option<Timestamp>,
    /// The reader sleeps until this much is unread.
    pub(super) wanted: Option<Load>,
    pub(super) wake: Arc<Notify>,
    pub(super) confirmations: Confirmations,
    pub(super) shed: Shed,
}

impl Place {
    pub(super) fn new(
        name: &str,
        types: TypeSet,
        options: &ReceiverOptions,
        skipped: Counter,
    ) -> Self {
        Self {
            name: name.into(),
            types,
            critical: options.critical,
            backlog: options.backlog,
            unread: VecDeque::new(),
            unread_load: Load::default(),
            window: usize::MAX,
            behind: None,
            behind_since: None,
            behind_load: Load::default(),
            in_hand: Load::default(),
            in_hand_from: None,
            in_hand_since: None,
            wanted: None,
            wake: Arc::default(),
            confirmations: Confirmations::default(),
            shed: Shed::new(options.backlog.when_full, skipped),
        }
    }

    /// Whether a message of these types is only delivered once this reader has confirmed it.
    pub(super) fn has_to_confirm(&self, types: TypeSet, some_are_critical: bool) -> bool {
        self.types.intersects(types) && (self.critical || !some_are_critical)
    }

    /// Memory holds only so much of what waits; the log has the rest.
    pub(super) fn read_from_disk_when_behind(&mut self) {
        self.window = WINDOW;
    }

    /// Goes on where the reader was before a restart.
    pub(super) fn resume(&mut self, left: Cursor, end: u64) {
        if left.position < end {
            self.behind = Some(left.position);
            self.behind_load = Load { count: left.messages, bytes: left.bytes };
        }
    }

    /// Whether these messages fit, or older ones may give way to them.
    pub(super) fn admits(&self, drafts: &[Draft], now: Timestamp) -> bool {
        if self.sheds() {
            return !self.shed.is_full();
        }
        let wanted = |draft: &&Draft| self.types.contains(&draft.data_type);
        let bytes = drafts.iter().filter(wanted).map(Draft::footprint).sum();
        bytes == 0 || (self.has_room(bytes) && !self.waits_too_long(now))
    }

    /// Whether the oldest message that waits is older than allowed.
    fn waits_too_long(&self, now: Timestamp) -> bool {
        let oldest = self.in_hand_since.or(self.unread.front().and_then(received_at));
        oldest.or(self.behind_since).is_some_and(|since| self.is_too_old(since, now))
    }

    fn is_too_old(&self, since: Timestamp, now: Timestamp) -> bool {
        self.backlog.max_age.is_some_and(|max| now.since(since) > max.get())
    }

    /// Whether old messages give way to new ones.
    pub(super) fn sheds(&self) -> bool {
        self.backlog.when_full != WhenFull::Refuse
    }

    fn has_room(&self, bytes: usize) -> bool {
        let waiting = self.load_to_deliver().bytes;
        // A message larger than the whole backlog must pass when nothing else waits, or it never would.
        waiting == 0 || (waiting + bytes) as u64 <= self.max_bytes()
    }

    fn max_bytes(&self) -> u64 {
        self.backlog.max_bytes.map_or(u64::MAX, Size::get)
    }

    pub(super) fn push(&mut self, position: u64, event: Event) {
        let load = Load::of(event.footprint());
        while self.sheds() && !self.has_room(load.bytes) && self.shed_oldest() {}
        if self.behind.is_some() || self.unread_load.bytes + load.bytes > self.window {
            self.behind.get_or_insert(position);
            self.behind_since = self.behind_since.or(event.received_at());
            self.behind_load.add(load);
            if self.has_to_shed_from_disk() {
                self.shed.wake.notify_one();
            }
        } else {
            self.unread_load.add(load);
            self.unread.push_back((position, event));
        }
    }

    /// False when nothing in memory can be given up, because all of it is in the reader's hand.
    fn shed_oldest(&mut self) -> bool {
        let Some((position, event)) = self.unread.pop_front() else { return false };
        self.unread_load.subtract(Load::of(event.footprint()));
        self.shed.give_up(position, event);
        true
    }

    /// Whether too much waits, or for too long, in a part of the log that the reader has not come to.
    pub(super) fn has_to_shed_from_disk(&self) -> bool {
        let too_old = |since| self.is_too_old(since, Timestamp::now());
        self.sheds()
            && self.next_on_disk().is_some()
            && (!self.has_room(0) || self.behind_since.is_some_and(too_old))
    }

    /// Whether this much is unread. If not, the reader is woken once it is.
    pub(super) fn want(&mut self, load: Load) -> bool {
        let enough = self.has(load);
        self.wanted = (!enough).then_some(load);
        enough
    }

    fn has(&self, load: Load) -> bool {
        self.behind.is_some() || self.unread_load.reaches(load)
    }

    pub(super) fn wake_if_wanted(&mut self) {
        // Only now, because a message may be skipped before it is known who waits for it.
        self.report_lost();
        if self.wanted.is_some_and(|wanted| self.has(wanted)) {
            self.wanted = None;
            self.wake.notify_one();
        }
    }

    /// Takes as many events from memory as fit into `limit`, at least one if there is one.
    pub(super) fn read(&mut self, limit: Load) -> Vec<(u64, Event)> {
        self.shed_what_is_too_old();
        let mut taken = Vec::with_capacity(limit.count.min(self.unread.len()));
        let mut load = Load::default();
        while let Some((position, event)) = self.unread.pop_front() {
            let size = Load::of(event.footprint());
            let full = load.count == limit.count || load.bytes + size.bytes > limit.bytes;
            if full && load.count > 0 {
                self.unread.push_front((position, event));
                break;
            }
            load.add(size);
            taken.push((position, event));
        }
        self.unread_load.subtract(load);
        self.take_in_hand(&taken, load);
        taken
    }

    fn shed_what_is_too_old(&mut self) {
        let now = Timestamp::now();
        let too_old = |place: &Self| {
            let since = place.unread.front().and_then(received_at);
            since.is_some_and(|since| place.is_too_old(since, now))
        };
        while self.sheds() && too_old(self) && self.shed_oldest() {}
    }

    /// Where the reader has to read from the log, because it has nothing in memory and is behind.
    pub(super) fn next_on_disk(&self) -> Option<u64> {
        if self.unread.is_empty() { self.behind } else { None }
    }

    /// Takes what was read from the log; `end` is where the log ends now. Returns it, but for what had to be given up.
    pub(super) fn read_from_disk(&mut self, chunk: Chunk, end: u64) -> Vec<(u64, Event)> {
        self.move_on(chunk.next, chunk.events.last().and_then(received_at), end);
        let events = self.shed_what_is_over(chunk.events);
        let load = load_of(&events);
        self.take_in_hand(&events, load);
        events
    }

    /// Gives up the first of what was read from the log, as much as has to be; the reader goes on behind it.
    pub(super) fn shed_from_disk(&mut self, chunk: Chunk, end: u64) {
        self.move_on(chunk.next, chunk.events.last().and_then(received_at), end);
        let left = self.shed_what_is_over(chunk.events);
        if let Some(first) = left.first() {
            self.behind = Some(first.0);
            self.behind_since = received_at(first);
            self.behind_load.add(load_of(&left));
        }
        if self.in_hand_from.is_none() {
            self.settle();
        }
    }

    /// What stands before `next` was read from the log, the last of it received at `last`.
    fn move_on(&mut self, next: u64, last: Option<Timestamp>, end: u64) {
        self.behind = (next < end).then_some(next);
        self.behind_since = last.filter(|_| self.behind.is_some());
    }

    /// Gives up the first of these events, which were counted as behind, for as long as too much waits or they have waited too
    /// long. Returns the others, which are no longer counted.
    fn shed_what_is_over(&mut self, mut events: Vec<(u64, Event)>) -> Vec<(u64, Event)> {
        self.behind_load.subtract(load_of(&events));
        if self.behind.is_none() {
            self.behind_load = Load::default();
        }
        let over = if self.sheds() { self.count_over(&events) } else { 0 };
        for (position, event) in events.drain(..over) {
            self.shed.give_up(position, event);
        }
        events
    }

    fn count_over(&self, events: &[(u64, Event)]) -> usize {
        let now = Timestamp::now();
        let mut waiting = (self.load_to_deliver().bytes + load_of(events).bytes) as u64;
        let over = |(_, event): &&(u64, Event)| {
            let too_old = event.received_at().is_some_and(|since| self.is_too_old(since, now));
            let over = waiting > self.max_bytes() || too_old;
            waiting = waiting.saturating_sub(event.footprint() as u64);
            over
        };
        events.iter().take_while(over).count()
    }

    fn take_in_hand(&mut self, events: &[(u64, Event)], load: Load) {
        if let Some(first) = events.first() {
            self.in_hand_from.get_or_insert(first.0);
            self.in_hand_since = self.in_hand_since.or(received_at(first));
        }
        self.in_hand.add(load);
    }

    /// How far the reader has come; `end` is where the log ends.
    pub(super) fn cursor(&self, end: u64) -> Cursor {
        let unread = self.unread.front().map(|(position, _)| *position);
        let next = self.in_hand_from.or(unread).or(self.behind).unwrap_or(end);
        let position = self.shed.first().map_or(next, |first| first.min(next));
        let Load { count, bytes } = self.load();
        Cursor { position, messages: count, bytes }
    }

    /// Everything read is done with; `failed` lists the positions of what was not delivered.
    pub(super) fn confirm(&mut self, failed: &[u64]) {
        self.in_hand = Load::default();
        self.in_hand_from = None;
        self.in_hand_since = None;
        failed.iter().for_each(|position| self.confirmations.lose(*position));
        self.settle();
        self.give_back_memory();
    }

    /// So many of the oldest letters are safe.
    pub(super) fn letters_kept(&mut self, count: usize) {
        self.shed.kept(count);
        self.report_lost();
        if self.in_hand_from.is_none() {
            self.settle();
        }
    }

    /// Everything before what still waits is done with.
    fn settle(&mut self) {
        self.report_lost();
        // Up to there, what was not read is for other readers, and never comes here.
        let unread = self.unread.front().map(|(position, _)| *position).or(self.behind);
        let next = unread.into_iter().chain(self.shed.first()).min();
        self.confirmations.settle(next.unwrap_or(u64::MAX));
    }

    fn report_lost(&mut self) {
        for position in self.shed.lost.drain(..) {
            self.confirmations.lose(position);
        }
    }

    /// Nothing will be confirmed any more.
    pub(super) fn abandon(&mut self) {
        self.confirmations = Confirmations::default();
    }

    fn give_back_memory(&mut self) {
        const KEPT: usize = 4096;
        if self.unread.capacity() > KEPT && self.unread.len() < self.unread.capacity() / 8 {
            self.unread.shrink_to(KEPT.max(self.unread.len() * 2));
        }
    }

    /// What waits, what is in hand or on its way to the dead letters included.
    pub(super) fn load(&self) -> Load {
        let mut load = self.load_to_deliver();
        load.add(self.shed.load());
        load
    }

    fn load_to_deliver(&self) -> Load {
        let mut load = self.unread_load;
        load.add(self.behind_load);
        load.add(self.in_hand);
        load
    }
}

fn received_at((_, event): &(u64, Event)) -> Option<Timestamp> {
    event.received_at()
}

fn load_of(events: &[(u64, Event)]) -> Load {
    let mut load = Load::default();
    events.iter().for_each(|(_, event)| load.add(Load::of(event.footprint())));
    load
}
