//! What a reader may leave lying, and what gives way when that is too much.

use super::disk::Chunk;
use super::keys::Keys;
use super::place::{Load, Place, load_of};
use super::{Event, WhenFull};
use crate::config::Size;
use crate::{Draft, Timestamp};

impl Place {
    /// Whether these messages fit, or older ones may give way to them; `end` is where the log ends.
    pub(super) fn admits(&self, drafts: &[Draft], now: Timestamp, end: u64) -> bool {
        if self.keeps_too_much(end) {
            return false;
        }
        let wanted = |draft: &&Draft| self.types.contains(&draft.data_type);
        let bytes = drafts.iter().filter(wanted).map(Draft::footprint).sum();
        if bytes == 0 {
            true
        } else if self.sheds() {
            !self.shed.is_full()
        } else {
            self.has_room(bytes) && !self.waits_too_long(now)
        }
    }

    /// Whether there is room for a change of activity, whose agent cannot be asked to say it again later.
    pub(super) fn admits_change(&self, end: u64) -> bool {
        !self.keeps_too_much(end) && (self.is_on_log() || self.sheds() || self.has_room(1))
    }

    /// Whether nothing may be added to the log, whomever it is for, because so much of it is kept for this reader, and cannot be
    /// given up.
    fn keeps_too_much(&self, end: u64) -> bool {
        let most = self.max_log();
        if !self.sheds() {
            return end.saturating_sub(self.next(end)) > most;
        }
        // What is on its way to the dead letters may be somewhat more, because it takes a moment.
        let letters = self.shed.first().map_or(0, |first| end.saturating_sub(first));
        letters > most.saturating_add(most / 8)
    }

    /// Whether the oldest message that waits is older than allowed.
    fn waits_too_long(&self, now: Timestamp) -> bool {
        self.backlog.max_age.is_some()
            && self.waiting_since().is_some_and(|since| self.is_too_old(since, now))
    }

    fn is_too_old(&self, since: Timestamp, now: Timestamp) -> bool {
        self.backlog.max_age.is_some_and(|max| now.since(since) > max.get())
    }

    /// Whether old messages give way to new ones.
    pub(super) fn sheds(&self) -> bool {
        self.backlog.when_full != WhenFull::Refuse
    }

    pub(super) fn has_room(&self, bytes: usize) -> bool {
        let waiting = self.load_to_deliver().bytes;
        // A message larger than the whole backlog must pass when nothing else waits, or it never would.
        waiting == 0 || (waiting + bytes) as u64 <= self.max_bytes()
    }

    fn max_bytes(&self) -> u64 {
        self.backlog.max_bytes.map_or(u64::MAX, Size::get)
    }

    fn max_log(&self) -> u64 {
        self.backlog.max_log.filter(|_| self.is_on_log()).map_or(u64::MAX, Size::get)
    }

    /// Whether an event has waited for too long, or stands too far back in the log.
    fn gives_way(&self, (position, event): &(u64, Event), now: Timestamp, end: u64) -> bool {
        end.saturating_sub(*position) > self.max_log() || self.is_too_old(event.since(), now)
    }

    /// Gives up what gives way of what is in memory.
    pub(super) fn give_up_in_memory(&mut self, now: Timestamp, end: u64) {
        let front = |place: &Self| {
            place.unread.front().is_some_and(|event| place.gives_way(event, now, end))
        };
        while self.sheds() && front(self) && self.give_up_oldest() {}
    }

    /// False when nothing in memory can be given up, because all of it is in the reader's hand.
    pub(super) fn give_up_oldest(&mut self) -> bool {
        let Some((position, event)) = self.unread.pop_front() else { return false };
        self.unread_load.subtract(Load::of(event.footprint()));
        self.give_up(position, event);
        true
    }

    fn give_up(&mut self, position: u64, event: Event) {
        self.passed_over |= self.in_hand_at.is_some();
        self.shed.give_up(position, event);
    }

    /// Whether too much waits, or for too long, in a part of the log that the reader has not come to.
    pub(super) fn has_to_give_up_on_disk(&self, end: u64) -> bool {
        let Some(next) = self.next_on_disk().filter(|_| self.sheds()) else { return false };
        let too_old = || {
            let since = self.behind_since.filter(|_| self.backlog.max_age.is_some());
            since.is_some_and(|since| self.is_too_old(since, Timestamp::now()))
        };
        !self.has_room(0) || end.saturating_sub(next) > self.max_log() || too_old()
    }

    /// Gives up the first of what was read from the log, as much as has to be; the reader goes on behind it.
    pub(super) fn give_up_on_disk(&mut self, chunk: Chunk, end: u64, keys: &mut Keys) {
        self.move_on(&chunk, end);
        let left = self.give_up_what_is_over(chunk.events, end);
        if let Some((position, event)) = left.first() {
            self.behind = Some(*position);
            self.behind_since = Some(event.since());
            self.behind_load.add(load_of(&left));
        }
        if self.in_hand_at.is_none() {
            self.settle(keys);
        }
    }

    /// Gives up the first of these events, which were counted as behind, for as long as too much waits or they give way. Returns the
    /// others, which are no longer counted.
    pub(super) fn give_up_what_is_over(
        &mut self,
        mut events: Vec<(u64, Event)>,
        end: u64,
    ) -> Vec<(u64, Event)> {
        self.behind_load.subtract(load_of(&events));
        if self.behind.is_none() {
            self.behind_load = Load::default();
        }
        let over = if self.sheds() { self.count_over(&events, end) } else { 0 };
        for (position, event) in events.drain(..over) {
            self.give_up(position, event);
        }
        events
    }

    fn count_over(&self, events: &[(u64, Event)], end: u64) -> usize {
        let now = Timestamp::now();
        let mut waiting = (self.load_to_deliver().bytes + load_of(events).bytes) as u64;
        let over = |event: &&(u64, Event)| {
            let over = waiting > self.max_bytes() || self.gives_way(event, now, end);
            waiting = waiting.saturating_sub(event.1.footprint() as u64);
            over
        };
        events.iter().take_while(over).count()
    }

    /// Where the batch in hand stands in the log, if it has to be given up: the receiver has been busy with it for so long that it
    /// keeps too much of the log, or that what came after it was given up already.
    pub(super) fn in_hand_to_give_up(&self, end: u64) -> Option<std::ops::Range<u64>> {
        let at = self.in_hand_at.as_ref().filter(|_| self.sheds() && self.is_on_log())?;
        let most = match self.passed_over {
            true => self.max_bytes().min(self.max_log()),
            false => self.max_log(),
        };
        (end.saturating_sub(at.start) > most).then(|| at.clone())
    }

    /// Gives up what was read again from the log of the batch in hand. The receiver still has it, and may deliver it yet; but it no
    /// longer keeps the log, and is not delivered again.
    pub(super) fn give_up_in_hand(&mut self, from: u64, chunk: Chunk, keys: &mut Keys) {
        // It may have been confirmed meanwhile.
        let Some(at) = self.in_hand_at.clone().filter(|at| at.start == from) else { return };
        for (position, event) in chunk.events.into_iter().filter(|(at_, _)| *at_ < at.end) {
            self.in_hand.subtract(Load::of(event.footprint()));
            self.shed.give_up(position, event);
        }
        if chunk.next < at.end {
            self.in_hand_at = Some(chunk.next..at.end);
        } else {
            self.in_hand_at = None;
            self.in_hand_since = None;
            self.in_hand = Load::default();
            self.settle(keys);
        }
    }
}
