//! One receiver's cursor, and the events between it and the end.

use std::ops::Range;
use std::sync::Arc;

use poa_core::engine::{Event, SubscriptionRequest, TypeSet};
use poa_core::{Backlog, Timestamp};
use tokio::sync::Notify;

use crate::confirmations::Confirmations;
use crate::cursors::Cursor;
use crate::keys::Keys;
use crate::load::Load;
use crate::shed::Shed;
use crate::tail::{Lanes, Tail};

/// A subscriber: its request, its position, and its waiting handle.
#[derive(Debug)]
pub(crate) struct Subscriber {
    pub(crate) terms: Terms,
    pub(crate) ahead: Ahead,
    pub(crate) in_hand: Option<InHand>,
    pub(crate) shed: Shed,
    pub(crate) confirmations: Confirmations,
    pub(crate) alarm: Alarm,
    /// Incremented when another handle takes over.
    pub(crate) generation: u64,
    /// Events after the batch in flight were shed.
    pub(crate) passed_over: bool,
}

/// The request of a subscriber.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) name: Arc<str>,
    pub(crate) types: TypeSet,
    pub(crate) lanes: Lanes,
    pub(crate) backlog: Backlog,
    pub(crate) critical: bool,
    /// Whether `delivered` waits for it: because it is critical, or no subscriber is.
    pub(crate) counts: bool,
}

/// The events that were not handed out yet.
#[derive(Debug)]
pub(crate) struct Ahead {
    /// Everything before this position was handed out or shed.
    pub(crate) next: u64,
    /// The size of the backlog from there on; an estimate after a restart, until the subscriber has caught up.
    pub(crate) load: Load,
    /// Approximately when the first of it was received, as long as it is on the disk only.
    pub(crate) since: Option<Timestamp>,
    /// Whether `load` is exact.
    pub(crate) exact: bool,
}

/// The events that were handed out and are not confirmed.
#[derive(Clone, Debug)]
pub(crate) struct InHand {
    pub(crate) at: Range<u64>,
    pub(crate) load: Load,
    pub(crate) since: Timestamp,
}

/// Wakes the subscriber once this much waits.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    pub(crate) wanted: Option<Load>,
    pub(crate) bell: Arc<Notify>,
}

impl Terms {
    pub(crate) fn new(request: &SubscriptionRequest, backlog: Backlog, lanes: Lanes) -> Self {
        Self {
            name: request.name.clone(),
            types: request.types,
            lanes,
            backlog,
            critical: request.critical,
            counts: false,
        }
    }
}

impl Subscriber {
    /// A subscriber that continues at the cursor, or starts at `end`.
    pub(crate) fn new(terms: Terms, shed: Shed, left: Option<Cursor>, end: u64) -> Self {
        let mut ahead = Ahead { next: end, load: Load::default(), since: None, exact: true };
        if let Some(left) = left.filter(|left| left.position < end) {
            ahead.next = left.position;
            ahead.exact = false;
            ahead.load = Load { count: left.messages, bytes: left.bytes };
            ahead.since = Some(left.since).filter(|since| *since > 0).map(Timestamp::from_micros);
        }
        Self {
            terms,
            ahead,
            in_hand: None,
            shed,
            confirmations: Confirmations::default(),
            alarm: Alarm::default(),
            generation: 0,
            passed_over: false,
        }
    }

    /// Another handle takes over, with another request. The cursor stays, and events in flight are handed out again.
    pub(crate) fn take_over(&mut self, terms: Terms, tail: &Tail) {
        self.give_back();
        self.shed.change(terms.backlog.when_full);
        // Other types mean another backlog.
        self.ahead.exact &= self.terms.types == terms.types;
        self.terms = terms;
        self.count_what_waits(tail);
        self.generation += 1;
        self.alarm.wanted = None;
        self.alarm.bell.notify_waiters();
        self.alarm.bell.notify_one();
        self.shed.wake.notify_one();
    }

    /// Whether a message of these types is only delivered once this subscriber has confirmed it.
    pub(crate) fn has_to_confirm(&self, types: TypeSet) -> bool {
        self.terms.counts && self.terms.types.intersects(types)
    }

    /// An event of its types was released.
    pub(crate) fn released(&mut self, load: Load) {
        self.ahead.load.add(load);
    }

    /// Whether this much waits. If not, the subscriber is woken once it does.
    pub(crate) fn want(&mut self, load: Load, tail: &Tail) -> bool {
        let enough = self.has(load, tail);
        self.alarm.wanted = (!enough).then_some(load);
        enough
    }

    /// The count of events that are on the disk only is not exact, so they have to be read.
    fn has(&self, load: Load, tail: &Tail) -> bool {
        self.ahead.load.reaches(load) || !(self.has_nothing_ahead() || self.is_in_memory(tail))
    }

    pub(crate) fn is_in_memory(&self, tail: &Tail) -> bool {
        tail.covers(&self.terms.lanes, self.ahead.next)
    }

    /// Whether something may have to be done for it because events were released. Most of the time it is busy, and sheds nothing.
    #[inline]
    pub(crate) fn needs_a_look(&self) -> bool {
        self.alarm.wanted.is_some() || self.shed.has_lost() || self.sheds()
    }

    pub(crate) fn wake_if_wanted(&mut self, tail: &Tail, keys: &mut Keys) {
        // Only now, because a message may be shed before it is known which receipts wait for it.
        self.report_lost(keys);
        if self.alarm.wanted.is_some_and(|wanted| self.has(wanted, tail)) {
            self.wake();
        }
    }

    pub(crate) fn wake(&mut self) {
        self.alarm.wanted = None;
        self.alarm.bell.notify_one();
    }

    /// Everything before `next` was examined; these events of it are handed out.
    pub(crate) fn take_in_hand(&mut self, events: &[(u64, Event)]) {
        let ([(from, first), .., (last, _)] | [(from @ last, first)]) = events else { return };
        let load = Load::of_all(events);
        self.ahead.load.subtract(load);
        match &mut self.in_hand {
            Some(in_hand) => {
                in_hand.at.end = last + 1;
                in_hand.load.add(load);
            }
            None => self.in_hand = Some(InHand { at: *from..last + 1, load, since: first.since() }),
        }
    }

    /// Moves on to `next`, with the events that come there on the disk.
    pub(crate) fn move_to(&mut self, next: u64, since: Option<Timestamp>, tail: &Tail) {
        self.ahead.next = next;
        if !self.is_in_memory(tail) {
            self.ahead.since = since.or(self.ahead.since);
            return;
        }
        self.ahead.since = None;
        if !self.ahead.exact {
            self.ahead.load = tail.load(&self.terms.lanes, next);
            self.ahead.exact = true;
        }
    }

    /// Counts the backlog if only an estimate is known and it is in memory: there, no read would find it.
    pub(crate) fn count_what_waits(&mut self, tail: &Tail) {
        self.move_to(self.ahead.next, self.ahead.since, tail);
    }

    /// A subscriber with an empty backlog moves along with the end, whichever types the events there have.
    pub(crate) fn move_along(&mut self, end: u64) {
        if self.has_nothing_ahead() {
            self.ahead.next = end;
        }
    }

    fn has_nothing_ahead(&self) -> bool {
        self.ahead.exact && self.ahead.load.count == 0
    }

    /// Events in flight are handed out again.
    pub(crate) fn give_back(&mut self) {
        if let Some(in_hand) = self.in_hand.take() {
            self.ahead.next = in_hand.at.start;
            self.ahead.load.add(in_hand.load);
            self.ahead.since = Some(in_hand.since);
        }
        self.passed_over = false;
    }

    /// Everything in flight is confirmed; `failed` lists the positions of events that were not delivered.
    pub(crate) fn confirm(&mut self, failed: &[u64], tail: &Tail, keys: &mut Keys) {
        self.in_hand = None;
        self.passed_over = false;
        failed.iter().for_each(|position| self.lose(*position, keys));
        self.settle(tail, keys);
    }

    /// Everything before the rest of the backlog is confirmed.
    pub(crate) fn settle(&mut self, tail: &Tail, keys: &mut Keys) {
        self.report_lost(keys);
        if self.in_hand.is_some() {
            return;
        }
        // Up to there, the events that were not handed out are for other subscribers.
        let next = self.first_ahead(tail).unwrap_or(u64::MAX);
        self.confirmations.settle(self.shed.first().map_or(next, |first| first.min(next)));
    }

    fn first_ahead(&self, tail: &Tail) -> Option<u64> {
        if self.has_nothing_ahead() {
            None
        } else if self.is_in_memory(tail) {
            tail.first(&self.terms.lanes, self.ahead.next).map(|(position, _)| *position)
        } else {
            Some(self.ahead.next)
        }
    }

    fn report_lost(&mut self, keys: &mut Keys) {
        if self.shed.has_lost() {
            self.shed.take_lost().into_iter().for_each(|position| self.lose(position, keys));
        }
    }

    fn lose(&self, position: u64, keys: &mut Keys) {
        self.confirmations.lose(position);
        if self.terms.counts {
            keys.lose(position);
        }
    }

    /// The position of the first unconfirmed event; `end` if there is none.
    pub(crate) fn position(&self, tail: &Tail, end: u64) -> u64 {
        let in_hand = self.in_hand.as_ref().map(|in_hand| in_hand.at.start);
        let next = in_hand.or_else(|| self.first_ahead(tail)).unwrap_or(end);
        self.shed.first().map_or(next, |first| first.min(next))
    }

    /// A lower bound of the position of the first unconfirmed event.
    pub(crate) fn lower_bound(&self) -> u64 {
        let kept = self.keeps_from();
        self.shed.first().map_or(kept, |first| first.min(kept))
    }

    /// Whether more than `most` of the log is kept for it; `end` is the end of the log.
    pub(crate) fn keeps_more_than(&self, most: u64, tail: &Tail, end: u64) -> bool {
        // Nearly always the first test is enough, and costs nothing.
        end.saturating_sub(self.lower_bound()) > most
            && end.saturating_sub(self.position(tail, end)) > most
    }

    /// The position from which it needs the events in memory.
    pub(crate) fn keeps_from(&self) -> u64 {
        self.in_hand.as_ref().map_or(self.ahead.next, |in_hand| in_hand.at.start)
    }

    /// The cursor of the subscriber.
    pub(crate) fn cursor(&self, tail: &Tail, end: u64) -> Cursor {
        let Load { count, bytes } = self.load();
        let since = self.waiting_since(tail).map_or(0, Timestamp::as_micros);
        Cursor { position: self.position(tail, end), messages: count, bytes, since }
    }

    /// The time at which the oldest event of the backlog was received.
    pub(crate) fn waiting_since(&self, tail: &Tail) -> Option<Timestamp> {
        let in_hand = self.in_hand.as_ref().map(|in_hand| in_hand.since);
        in_hand.or_else(|| self.ahead_since(tail))
    }

    /// The time at which the oldest event that was not handed out was received.
    pub(crate) fn ahead_since(&self, tail: &Tail) -> Option<Timestamp> {
        if self.has_nothing_ahead() {
            None
        } else if self.is_in_memory(tail) {
            tail.first(&self.terms.lanes, self.ahead.next).map(|(_, event)| event.since())
        } else {
            self.ahead.since
        }
    }

    /// The size of the backlog, including what is in flight or being dead-lettered.
    pub(crate) fn load(&self) -> Load {
        let mut load = self.load_to_deliver();
        load.add(self.shed.load());
        load
    }

    pub(crate) fn load_to_deliver(&self) -> Load {
        let mut load = self.ahead.load;
        load.add(self.in_hand.as_ref().map_or_else(Load::default, |in_hand| in_hand.load));
        load
    }
}
