//! What waits for one reader.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use tokio::sync::Notify;

use super::cursors::Cursor;
use super::disk::{Chunk, Wanted};
use super::keys::Keys;
use super::shed::Shed;
use super::{Backlog, Confirmations, Event};
use crate::data_type::TypeSet;
use crate::telemetry::Counter;
use crate::{ReceiverOptions, Timestamp};

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
    /// Whether `delivered` waits for this reader: because it is critical, or nobody is.
    pub(super) counts: bool,
    pub(super) backlog: Backlog,
    pub(super) unread: VecDeque<(u64, Event)>,
    pub(super) unread_load: Load,
    /// How much of `unread` memory may hold; what comes after it is on the disk alone. None without a log.
    window: Option<usize>,
    /// Where in the log the reader has to go on once `unread` is empty; none when it has everything in memory.
    pub(super) behind: Option<u64>,
    /// When about the first event there was received.
    pub(super) behind_since: Option<Timestamp>,
    /// What waits there.
    pub(super) behind_load: Load,
    /// What was read and not confirmed, and what part of the log that is.
    pub(super) in_hand: Load,
    pub(super) in_hand_at: Option<Range<u64>>,
    pub(super) in_hand_since: Option<Timestamp>,
    /// Something was given up that stands behind what is in hand.
    pub(super) passed_over: bool,
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
            counts: false,
            backlog: options.backlog,
            unread: VecDeque::new(),
            unread_load: Load::default(),
            window: None,
            behind: None,
            behind_since: None,
            behind_load: Load::default(),
            in_hand: Load::default(),
            in_hand_at: None,
            in_hand_since: None,
            passed_over: false,
            wanted: None,
            wake: Arc::default(),
            confirmations: Confirmations::default(),
            shed: Shed::new(options.backlog.when_full, skipped),
        }
    }

    /// Whether a message of these types is only delivered once this reader has confirmed it.
    pub(super) fn has_to_confirm(&self, types: TypeSet) -> bool {
        self.counts && self.types.intersects(types)
    }

    /// Memory holds only so much of what waits; the log has the rest.
    pub(super) fn read_from_disk_when_behind(&mut self) {
        self.window = Some(WINDOW);
    }

    pub(super) fn is_on_log(&self) -> bool {
        self.window.is_some()
    }

    /// Goes on where the reader was before a restart.
    pub(super) fn resume(&mut self, left: Cursor, end: u64) {
        if left.position < end {
            self.behind = Some(left.position);
            self.behind_load = Load { count: left.messages, bytes: left.bytes };
            self.behind_since =
                Some(left.since).filter(|since| *since > 0).map(Timestamp::from_micros);
        }
    }

    pub(super) fn push(&mut self, position: u64, event: Event) {
        let load = Load::of(event.footprint());
        while self.sheds() && !self.has_room(load.bytes) && self.give_up_oldest() {}
        if self.behind.is_some() || self.is_beyond_memory(load) {
            self.behind.get_or_insert(position);
            self.behind_since = self.behind_since.or(Some(event.since()));
            self.behind_load.add(load);
            if self.has_to_give_up_on_disk(position) {
                self.shed.wake.notify_one();
            }
        } else {
            self.unread_load.add(load);
            self.unread.push_back((position, event));
        }
    }

    fn is_beyond_memory(&self, load: Load) -> bool {
        self.window.is_some_and(|window| self.unread_load.bytes + load.bytes > window)
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

    pub(super) fn wake_if_wanted(&mut self, keys: &mut Keys) {
        // Only now, because a message may be skipped before it is known who waits for it.
        self.report_lost(keys);
        if self.wanted.is_some_and(|wanted| self.has(wanted)) {
            self.wanted = None;
            self.wake.notify_one();
        }
    }

    /// Takes as many events from memory as fit into `limit`, at least one if there is one; `end` is where the log ends.
    pub(super) fn read(&mut self, limit: Load, end: u64) -> Vec<(u64, Event)> {
        self.give_up_in_memory(Timestamp::now(), end);
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

    /// Where the reader has to read from the log, because it has nothing in memory and is behind.
    pub(super) fn next_on_disk(&self) -> Option<u64> {
        if self.unread.is_empty() { self.behind } else { None }
    }

    /// Where the reader has to read from the log, if so much waits there.
    pub(super) fn whole_on_disk(&self, limit: Load) -> Option<u64> {
        self.next_on_disk().filter(|_| self.behind_load.reaches(limit))
    }

    /// What to read from the log from there on; `end` is where it ends.
    pub(super) fn wanted_on_disk(&self, from: u64, end: u64, limit: Load) -> Wanted {
        Wanted { from, end, types: self.types, limit }
    }

    /// Takes what was read from the log; `end` is where the log ends now. Returns it, but for what had to be given up.
    pub(super) fn read_from_disk(&mut self, chunk: Chunk, end: u64) -> Vec<(u64, Event)> {
        self.move_on(&chunk, end);
        let events = self.give_up_what_is_over(chunk.events, end);
        let load = load_of(&events);
        self.take_in_hand(&events, load);
        events
    }

    /// What stands before `chunk.next` was read from the log.
    pub(super) fn move_on(&mut self, chunk: &Chunk, end: u64) {
        self.behind = (chunk.next < end).then_some(chunk.next);
        // Nothing of this reader's in that stretch: what comes after it is no older than was thought.
        let last = chunk.events.last().map(|(_, event)| event.since()).or(self.behind_since);
        self.behind_since = last.filter(|_| self.behind.is_some());
    }

    fn take_in_hand(&mut self, events: &[(u64, Event)], load: Load) {
        if let [(from, first), .., (last, _)] | [(from @ last, first)] = events {
            let from = self.in_hand_at.as_ref().map_or(*from, |at| at.start);
            self.in_hand_at = Some(from..last + 1);
            self.in_hand_since = self.in_hand_since.or(Some(first.since()));
        }
        self.in_hand.add(load);
    }

    /// What comes first of all that is not done with; `end` if there is nothing.
    pub(super) fn next(&self, end: u64) -> u64 {
        let unread = || self.unread.front().map(|(position, _)| *position);
        let in_hand = self.in_hand_at.as_ref().map(|at| at.start);
        let next = in_hand.or_else(unread).or(self.behind).unwrap_or(end);
        self.shed.first().map_or(next, |first| first.min(next))
    }

    /// How far the reader has come; `end` is where the log ends.
    pub(super) fn cursor(&self, end: u64) -> Cursor {
        let Load { count, bytes } = self.load();
        let since = self.waiting_since().map_or(0, Timestamp::as_micros);
        Cursor { position: self.next(end), messages: count, bytes, since }
    }

    /// When the first of what waits was received.
    pub(super) fn waiting_since(&self) -> Option<Timestamp> {
        let unread = || self.unread.front().map(|(_, event)| event.since());
        self.in_hand_since.or_else(unread).or(self.behind_since)
    }

    /// Everything read is done with; `failed` lists the positions of what was not delivered.
    pub(super) fn confirm(&mut self, failed: &[u64], keys: &mut Keys) {
        self.in_hand = Load::default();
        self.in_hand_at = None;
        self.in_hand_since = None;
        self.passed_over = false;
        failed.iter().for_each(|position| self.lose(*position, keys));
        self.settle(keys);
        self.give_back_memory();
    }

    /// So many of the oldest letters are safe.
    pub(super) fn letters_kept(&mut self, count: usize, keys: &mut Keys) {
        self.shed.kept(count);
        self.report_lost(keys);
        if self.in_hand_at.is_none() {
            self.settle(keys);
        }
    }

    /// Everything before what still waits is done with.
    pub(super) fn settle(&mut self, keys: &mut Keys) {
        self.report_lost(keys);
        // Up to there, what was not read is for other readers, and never comes here.
        let unread = self.unread.front().map(|(position, _)| *position).or(self.behind);
        let next = unread.into_iter().chain(self.shed.first()).min();
        self.confirmations.settle(next.unwrap_or(u64::MAX));
    }

    fn report_lost(&mut self, keys: &mut Keys) {
        for position in std::mem::take(&mut self.shed.lost) {
            self.lose(position, keys);
        }
    }

    fn lose(&self, position: u64, keys: &mut Keys) {
        self.confirmations.lose(position);
        if self.counts {
            keys.lose(position);
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

    pub(super) fn load_to_deliver(&self) -> Load {
        let mut load = self.unread_load;
        load.add(self.behind_load);
        load.add(self.in_hand);
        load
    }
}

pub(super) fn load_of(events: &[(u64, Event)]) -> Load {
    let mut load = Load::default();
    events.iter().for_each(|(_, event)| load.add(Load::of(event.footprint())));
    load
}
