//! The limits of a subscriber's backlog, and what it sheds at a limit.

use std::ops::Range;

use poa_core::config::Size;
use poa_core::engine::Event;
use poa_core::{Draft, Timestamp, WhenFull};

use crate::keys::Keys;
use crate::load::Load;
use crate::subscriber::{InHand, Subscriber};
use crate::tail::Tail;

/// The amount that is shed at once.
pub(crate) const AT_ONCE: Load = Load { count: 1000, bytes: 4 << 20 };

/// Events that were read, from memory or from the disk, and the position at which reading continues.
#[derive(Debug)]
pub(crate) struct Stretch {
    pub(crate) events: Vec<(u64, Event)>,
    pub(crate) next: u64,
}

impl Subscriber {
    /// Whether these messages fit, or older ones may be shed for them; `end` is the end of the log.
    pub(crate) fn admits(&self, drafts: &[Draft], now: Timestamp, end: u64, tail: &Tail) -> bool {
        if self.keeps_too_much(end, tail) {
            return false;
        }
        let wanted = |draft: &&Draft| self.terms.types.contains(draft.data_type());
        let bytes = drafts.iter().filter(wanted).map(Draft::footprint).sum();
        if bytes == 0 {
            true
        } else if self.sheds() {
            !self.shed.is_full()
        } else {
            self.has_room(bytes) && !self.waits_too_long(now, tail)
        }
    }

    /// Whether it is subscribed to the type of this message.
    pub(crate) fn takes(&self, draft: &Draft) -> bool {
        self.terms.types.contains(draft.data_type())
    }

    /// The usage of the most used limit, and that limit, in bytes; `None` while less than half of each is used.
    pub(crate) fn filling(&self, end: u64) -> Option<(u64, u64)> {
        let waiting = self.load_to_deliver().bytes as u64;
        let kept = end.saturating_sub(self.lower_bound());
        let bounds = [(waiting, self.max_bytes()), (kept, self.max_log())];
        let filling = bounds.into_iter().filter(|(used, most)| *used >= most / 2);
        filling.min_by_key(|(used, most)| most.saturating_sub(*used))
    }

    /// Whether there is room for a change of activity, whose agent cannot be asked to send it again later.
    pub(crate) fn admits_change(&self, end: u64, tail: &Tail) -> bool {
        let has_disk = self.terms.backlog.max_log.is_some();
        !self.keeps_too_much(end, tail) && (has_disk || self.sheds() || self.has_room(1))
    }

    /// Whether nothing may be added to the log, whatever its type, because too much of it is kept for this subscriber and cannot be
    /// shed.
    #[inline]
    fn keeps_too_much(&self, end: u64, tail: &Tail) -> bool {
        let most = self.max_log();
        most != u64::MAX && self.keeps_more(most, end, tail)
    }

    fn keeps_more(&self, most: u64, end: u64, tail: &Tail) -> bool {
        if !self.sheds() {
            return self.keeps_more_than(most, tail, end);
        }
        // Messages that are being dead-lettered may exceed the limit somewhat, because storing them takes a moment.
        let letters = self.shed.first().map_or(0, |first| end.saturating_sub(first));
        letters > most.saturating_add(most / 8)
    }

    /// Whether the oldest message of the backlog is older than allowed.
    fn waits_too_long(&self, now: Timestamp, tail: &Tail) -> bool {
        self.terms.backlog.max_age.is_some()
            && self.waiting_since(tail).is_some_and(|since| self.is_too_old(since, now))
    }

    fn is_too_old(&self, since: Timestamp, now: Timestamp) -> bool {
        self.terms.backlog.max_age.is_some_and(|max| now.since(since) > max.get())
    }

    /// Whether old messages are shed for new ones.
    pub(crate) fn sheds(&self) -> bool {
        self.terms.backlog.when_full != WhenFull::Refuse
    }

    fn has_room(&self, bytes: usize) -> bool {
        let waiting = self.load_to_deliver().bytes;
        // A message larger than the whole backlog must be accepted into an empty one, or it never would be.
        waiting == 0 || (waiting + bytes) as u64 <= self.max_bytes()
    }

    fn max_bytes(&self) -> u64 {
        self.terms.backlog.max_bytes.map_or(u64::MAX, Size::get)
    }

    fn max_log(&self) -> u64 {
        self.terms.backlog.max_log.map_or(u64::MAX, Size::get)
    }

    /// Whether the part of the backlog that was not handed out is too large or too old.
    pub(crate) fn has_to_shed(&self, end: u64, tail: &Tail) -> bool {
        if !self.sheds() || self.ahead.next >= end {
            return false;
        }
        let too_old = || {
            let since = self.terms.backlog.max_age.and_then(|_| self.ahead_since(tail));
            since.is_some_and(|since| self.is_too_old(since, Timestamp::now()))
        };
        let waiting = self.load_to_deliver();
        (waiting.count > 1 && waiting.bytes as u64 > self.max_bytes())
            || end.saturating_sub(self.ahead.next) > self.max_log()
            || too_old()
    }

    /// Sheds the excess of what is in memory.
    pub(crate) fn shed_in_memory(&mut self, end: u64, tail: &Tail) {
        while self.has_to_shed(end, tail) && self.is_in_memory(tail) && !self.shed.is_full() {
            let before = self.ahead.next;
            let events = tail.read(&self.terms.lanes, before, end, AT_ONCE);
            let next = tail.after(&self.terms.lanes, &events).unwrap_or(end);
            self.shed_first(Stretch { events, next }, end, tail);
            if self.ahead.next == before {
                return;
            }
        }
    }

    /// Sheds the first events of a stretch while the backlog is too large or they are too old. Returns the others; the subscriber has
    /// passed what lies before them.
    pub(crate) fn shed_first(&mut self, stretch: Stretch, end: u64, tail: &Tail) -> Stretch {
        let Stretch { mut events, next } = stretch;
        let over = if self.sheds() { self.count_over(&events, end) } else { 0 };
        self.passed_over |= over > 0 && self.in_hand.is_some();
        self.ahead.load.subtract(Load::of_all(&events[..over]));
        for (position, event) in events.drain(..over) {
            self.shed.take(position, event);
        }
        let first = events.first().map_or(next, |(position, _)| *position);
        let since = events.first().map(|(_, event)| event.since());
        self.move_to(first, since, tail);
        Stretch { events, next }
    }

    fn count_over(&self, events: &[(u64, Event)], end: u64) -> usize {
        let now = Timestamp::now();
        let (max_bytes, max_log) = (self.max_bytes(), self.max_log());
        // An estimate from before a restart may be less than what was found.
        let found = Load::of_all(events).bytes;
        let in_hand = self.in_hand.as_ref().map_or(0, |in_hand| in_hand.load.bytes);
        let mut waiting = (self.ahead.load.bytes.max(found) + in_hand) as u64;
        let over = |(position, event): &&(u64, Event)| {
            let bytes = event.footprint() as u64;
            // An event that is larger than the whole backlog stays when it is the only one.
            let over = (waiting > max_bytes && waiting > bytes)
                || end.saturating_sub(*position) > max_log
                || self.is_too_old(event.since(), now);
            waiting = waiting.saturating_sub(bytes);
            over
        };
        events.iter().take_while(over).count()
    }

    /// The position of the batch in flight, if it has to be shed: the receiver has been busy with it for so long that it keeps too
    /// much of the log, or that events after it were shed already.
    pub(crate) fn in_hand_to_shed(&self, end: u64) -> Option<Range<u64>> {
        let has_disk = self.terms.backlog.max_log.is_some();
        let in_hand = self.in_hand.as_ref().filter(|_| self.sheds() && has_disk)?;
        let most = match self.passed_over {
            true => self.max_bytes().min(self.max_log()),
            false => self.max_log(),
        };
        (end.saturating_sub(in_hand.at.start) > most).then(|| in_hand.at.clone())
    }

    /// Sheds events of the batch in flight, which were read again. The receiver still has them and may deliver them yet; but they no
    /// longer keep the log, and are not delivered again.
    pub(crate) fn shed_in_hand(
        &mut self,
        from: u64,
        stretch: Stretch,
        tail: &Tail,
        keys: &mut Keys,
    ) {
        // It may have been confirmed meanwhile.
        let Some(in_hand) = self.in_hand.as_mut().filter(|in_hand| in_hand.at.start == from) else {
            return;
        };
        let InHand { at, load, .. } = in_hand;
        for (position, event) in stretch.events.into_iter().filter(|(place, _)| at.contains(place))
        {
            load.subtract(Load::of(&event));
            self.shed.take(position, event);
        }
        at.start = stretch.next;
        if at.is_empty() {
            self.in_hand = None;
            self.settle(tail, keys);
        }
    }
}
