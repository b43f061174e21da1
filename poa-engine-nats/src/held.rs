//! One receiver on one node: the partitions it holds, and the events it has read and not confirmed.

use std::collections::{BTreeMap, VecDeque};

use poa_core::engine::Event;
use poa_core::{BatchLimits, Message, Timestamp};
use tokio::time::Instant;

use crate::cursor::{Claimed, Cursor, Trying};
use crate::pack::Position;

/// How many events are handed out one by one after a node ended without letting go: one of them may be the reason.
const CAREFUL: u32 = 256;
/// How many nodes may end over one message before it is set aside.
const MOST_CRASHES: u32 = 2;

/// An event that was read.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The number under which it is handed out.
    pub(crate) number: u64,
    pub(crate) partition: u16,
    pub(crate) epoch: u64,
    pub(crate) position: Position,
    pub(crate) event: Event,
    /// Whether a front end waits until it is confirmed.
    pub(crate) urgent: bool,
}

/// A partition that is held.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) epoch: u64,
    pub(crate) until: Instant,
    /// As it was last written, and its revision.
    pub(crate) cursor: Cursor,
    pub(crate) revision: u64,
    /// Everything up to here was read.
    received: Position,
    /// The reader that reads it.
    group: u64,
    /// Nothing more is read: the partition goes to another node once nothing of it is in flight.
    leaving: bool,
    /// How many more events are handed out one by one.
    careful: u32,
    /// Whether the cursor must be written before anything else is handed out.
    unwritten: bool,
    /// Whether the cursor has changed besides its position.
    dirty: bool,
    unflushed: u32,
}

/// Everything a subscription has.
#[derive(Debug, Default)]
pub(crate) struct Held {
    partitions: BTreeMap<u16, Partition>,
    window: VecDeque<Entry>,
    window_bytes: usize,
    in_flight: Vec<Entry>,
    shed: VecDeque<Entry>,
    next_number: u64,
    /// For each reader, how many messages of the stream it has not read.
    pending: BTreeMap<u64, u64>,
    /// The average size of a message of the stream.
    average: usize,
}

/// A cursor that is to be written.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) partition: u16,
    pub(crate) cursor: Cursor,
    pub(crate) revision: u64,
}

/// The backlog of a partition.
#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    events: u64,
    bytes: u64,
    oldest: Option<u64>,
}

impl Waiting {
    fn add(&mut self, entry: &Entry) {
        self.events += 1;
        self.bytes += entry.event.footprint() as u64;
        let since = entry.event.since().as_micros();
        self.oldest = Some(self.oldest.map_or(since, |oldest| oldest.min(since)));
    }
}

impl Held {
    /// A partition is held from now on. Returns where to read from.
    pub(crate) fn add(
        &mut self,
        partition: u16,
        claimed: Claimed,
        group: u64,
        until: Instant,
    ) -> u64 {
        let Claimed { cursor, revision, crashed } = claimed;
        let received = cursor.position();
        let held = Partition {
            epoch: cursor.epoch,
            until,
            cursor,
            revision,
            received,
            group,
            leaving: false,
            careful: if crashed { CAREFUL } else { 0 },
            unwritten: false,
            dirty: false,
            unflushed: 0,
        };
        self.partitions.insert(partition, held);
        received.resume_at()
    }

    /// The partition is lost: what was read of it belongs to another node.
    pub(crate) fn remove(&mut self, partition: u16) -> Option<Partition> {
        self.window.retain(|entry| entry.partition != partition);
        self.shed.retain(|entry| entry.partition != partition);
        self.window_bytes = self.window.iter().map(|entry| entry.event.footprint()).sum();
        let removed = self.partitions.remove(&partition)?;
        if !self.partitions.values().any(|held| held.group == removed.group) {
            self.pending.remove(&removed.group);
        }
        Some(removed)
    }

    /// Hands out nothing more of a partition that goes to another node.
    pub(crate) fn leave(&mut self, partition: u16) {
        let first = self.window.iter().find(|entry| entry.partition == partition);
        let first = first.map(|entry| entry.position);
        self.window.retain(|entry| entry.partition != partition);
        self.window_bytes = self.window.iter().map(|entry| entry.event.footprint()).sum();
        if let Some(held) = self.partitions.get_mut(&partition) {
            held.leaving = true;
            // What was dropped is for the next holder.
            held.received = first.map_or(held.received, |first| first.before());
        }
    }

    /// The partitions that can go now.
    pub(crate) fn left(&self) -> Vec<u16> {
        let is_open = |number: u16| {
            self.in_flight.iter().chain(&self.shed).any(|entry| entry.partition == number)
        };
        let leaving = self.partitions.iter().filter(|(_, held)| held.leaving);
        leaving.map(|(number, _)| *number).filter(|number| !is_open(*number)).collect()
    }

    pub(crate) fn set_until(&mut self, partition: u16, epoch: u64, until: Instant) {
        if let Some(held) = self.partitions.get_mut(&partition).filter(|held| held.epoch == epoch) {
            held.until = until;
        }
    }

    pub(crate) fn partitions(&self) -> impl Iterator<Item = (u16, &Partition)> {
        self.partitions.iter().map(|(number, partition)| (*number, partition))
    }

    pub(crate) fn holds(&self, partition: u16, epoch: u64) -> bool {
        self.partitions.get(&partition).is_some_and(|held| held.epoch == epoch)
    }

    pub(crate) fn window_bytes(&self) -> usize {
        self.window_bytes
    }

    /// Takes in an event, unless it was taken in before or the partition is not held any more.
    pub(crate) fn push(
        &mut self,
        partition: u16,
        epoch: u64,
        position: Position,
        event: Option<(Event, bool)>,
    ) {
        let Some(held) = self.partitions.get_mut(&partition) else { return };
        if held.epoch != epoch || held.leaving || position <= held.received {
            return;
        }
        held.received = position;
        let Some((event, urgent)) = event else { return };
        self.next_number += 1;
        self.window_bytes += event.footprint();
        let number = self.next_number;
        self.window.push_back(Entry { number, partition, epoch, position, event, urgent });
    }

    /// How many messages of the stream a reader has not read, and the size of the last.
    pub(crate) fn set_pending(&mut self, group: u64, pending: u64, size: usize) {
        self.average = if self.average == 0 { size } else { (self.average * 15 + size) / 16 };
        self.pending.insert(group, pending);
    }

    /// Everything up to this message of the stream was read by a reader, or is not for this receiver.
    pub(crate) fn caught_up(&mut self, group: u64, sequence: u64) {
        self.pending.insert(group, 0);
        for held in self.partitions.values_mut().filter(|held| held.group == group && !held.leaving)
        {
            held.received = held.received.max(Position::end_of(sequence));
        }
    }

    /// Lets go of partitions whose lease has run out: another node may have them.
    fn drop_expired(&mut self, now: Instant) {
        let expired = self.partitions.iter().filter(|(_, held)| now >= held.until);
        let expired: Vec<_> = expired.map(|(number, _)| *number).collect();
        for number in expired {
            self.remove(number);
        }
    }

    /// How many events of the window fit into a batch, and whether they fill it.
    pub(crate) fn fitting(&self, limits: &BatchLimits) -> (usize, bool) {
        let (mut count, mut bytes) = (0, 0);
        let most = usize::try_from(limits.bytes.get()).unwrap_or(usize::MAX);
        for entry in &self.window {
            if self.is_careful(entry) {
                // Alone, or the batch ends before it.
                return (count.max(1), true);
            }
            bytes += entry.event.footprint();
            if count == limits.size.max(1) || (count > 0 && bytes > most) {
                return (count, true);
            }
            count += 1;
        }
        (count, count >= limits.size.max(1) || bytes >= most)
    }

    fn is_careful(&self, entry: &Entry) -> bool {
        self.partitions.get(&entry.partition).is_some_and(|held| held.careful > 0)
    }

    /// Whether a cursor must be written before the next event is handed out.
    pub(crate) fn must_write(&self) -> bool {
        let next = self.window.front().and_then(|entry| self.partitions.get(&entry.partition));
        next.is_some_and(|held| held.unwritten)
    }

    /// Prepares the next event where one of those before it may have ended a node: it is handed out only after the cursor names it.
    /// A message over which nodes ended repeatedly is set aside.
    pub(crate) fn prepare(&mut self, now: Instant) {
        self.drop_expired(now);
        while let Some(entry) = self.window.front() {
            let Some(held) = self.partitions.get_mut(&entry.partition) else { return };
            let position = entry.position.raw();
            if held.careful == 0 {
                return;
            }
            match held.cursor.trying.filter(|trying| trying.position == position) {
                Some(trying) if trying.crashes < MOST_CRASHES => return,
                Some(_) => held.cursor.trying = None,
                None => {
                    held.cursor.trying = Some(Trying { position, crashes: 0 });
                    held.unwritten = true;
                    return;
                }
            }
            if let Some(entry) = self.take_front() {
                tracing::error!(
                    "setting aside a message over which the server ended {} times",
                    MOST_CRASHES + 1
                );
                self.shed.push_back(entry);
            }
        }
    }

    fn take_front(&mut self) -> Option<Entry> {
        let entry = self.window.pop_front()?;
        self.window_bytes = self.window_bytes.saturating_sub(entry.event.footprint());
        Some(entry)
    }

    /// Hands out so many events.
    pub(crate) fn hand_out(&mut self, count: usize) -> Vec<(u64, Event)> {
        for _ in 0..count {
            let Some(entry) = self.take_front() else { break };
            self.in_flight.push(entry);
        }
        self.in_flight.iter().map(|entry| (entry.number, entry.event.clone())).collect()
    }

    /// Confirms everything in flight. Returns whether a cursor is to be written at once.
    pub(crate) fn confirm(&mut self, failed: &[u64]) -> bool {
        let mut at_once = false;
        for entry in std::mem::take(&mut self.in_flight) {
            let Some(held) = self.partitions.get_mut(&entry.partition) else { continue };
            if held.epoch != entry.epoch {
                continue;
            }
            if failed.contains(&entry.number) {
                held.cursor.add_lost(entry.position);
                held.dirty = true;
            }
            held.careful = held.careful.saturating_sub(1);
            held.unflushed += 1;
            at_once |= entry.urgent || held.careful > 0 || held.unflushed >= 1000;
        }
        at_once
    }

    /// Hands out again what is in flight, before anything else.
    pub(crate) fn give_back(&mut self) {
        for entry in std::mem::take(&mut self.in_flight).into_iter().rev() {
            if self.holds(entry.partition, entry.epoch) {
                self.window_bytes += entry.event.footprint();
                self.window.push_front(entry);
            }
        }
    }

    /// The cursors that have moved since they were written.
    pub(crate) fn writes(&self, now: Timestamp) -> Vec<Write> {
        let mut first: BTreeMap<u16, Position> = BTreeMap::new();
        let mut waiting: BTreeMap<u16, Waiting> = BTreeMap::new();
        for entry in self.shed.iter().chain(&self.in_flight).chain(&self.window) {
            let least = first.entry(entry.partition).or_insert(entry.position);
            *least = (*least).min(entry.position);
            waiting.entry(entry.partition).or_default().add(entry);
        }
        let write = |(number, held): (&u16, &Partition)| {
            let done = first.get(number).map_or(held.received, |position| position.before());
            let mut cursor = held.cursor.clone();
            cursor.advance(done);
            let waiting = waiting.get(number).copied().unwrap_or_default();
            let pending = self.pending_of(held.group);
            cursor.waiting = waiting.events + pending;
            cursor.waiting_bytes = waiting.bytes + pending * self.average as u64;
            cursor.oldest = waiting.oldest;
            cursor.released = false;
            if cursor == held.cursor && !held.unwritten && !held.dirty {
                return None;
            }
            cursor.written = now.as_micros();
            Some(Write { partition: *number, cursor, revision: held.revision })
        };
        self.partitions.iter().filter_map(write).collect()
    }

    /// The share of one partition in what its reader has not read.
    fn pending_of(&self, group: u64) -> u64 {
        let pending = self.pending.get(&group).copied().unwrap_or(0);
        let sharing = self.partitions.values().filter(|held| held.group == group).count() as u64;
        pending.div_ceil(sharing.max(1))
    }

    /// A cursor was written. What changed meanwhile stays, and is written next time.
    pub(crate) fn written(&mut self, write: Write, revision: u64) {
        let Write { partition, mut cursor, .. } = write;
        let Some(held) = self.partitions.get_mut(&partition) else { return };
        if held.epoch != cursor.epoch {
            return;
        }
        let lost: Vec<_> = cursor.lost().collect();
        let missing: Vec<_> =
            held.cursor.lost().filter(|position| !lost.contains(position)).collect();
        held.dirty = !missing.is_empty();
        missing.into_iter().for_each(|position| cursor.add_lost(position));
        held.unwritten = cursor.trying != held.cursor.trying;
        cursor.trying = held.cursor.trying;
        (held.cursor, held.revision, held.unflushed) = (cursor, revision, 0);
    }

    /// How many events and bytes wait, and since when.
    pub(crate) fn level(&self) -> (u64, u64, Option<Timestamp>) {
        let entries = || self.shed.iter().chain(&self.in_flight).chain(&self.window);
        let pending: u64 = self.pending.values().sum();
        let events = entries().count() as u64 + pending;
        let bytes: usize = entries().map(|entry| entry.event.footprint()).sum();
        let oldest = entries().map(|entry| entry.event.since()).min();
        (events, bytes as u64 + pending * self.average as u64, oldest)
    }

    /// Takes the oldest events out of the window until `fits` says that enough are gone; activity is skipped with them.
    pub(crate) fn shed_while(&mut self, keep: bool, mut exceeds: impl FnMut(&Self) -> bool) -> u64 {
        let mut skipped = 0;
        while exceeds(self) {
            let Some(entry) = self.take_front() else { break };
            let is_message = matches!(entry.event, Event::Message(_));
            match keep && is_message {
                true => self.shed.push_back(entry),
                false => skipped += u64::from(is_message),
            }
        }
        skipped
    }

    pub(crate) fn shed(&self) -> Vec<Message> {
        let message = |entry: &Entry| match &entry.event {
            Event::Message(message) => Some(message.clone()),
            Event::Activity(_) => None,
        };
        self.shed.iter().filter_map(message).collect()
    }

    /// The first so many of what was shed are safe.
    pub(crate) fn shed_kept(&mut self, count: usize) {
        for entry in self.shed.drain(..count.min(self.shed.len())) {
            let held = self.partitions.get_mut(&entry.partition);
            if let Some(held) = held.filter(|held| held.epoch == entry.epoch) {
                held.cursor.add_lost(entry.position);
                held.dirty = true;
            }
        }
    }

    /// Whether nothing is read that was not handed out.
    pub(crate) fn is_drained(&self) -> bool {
        self.window.is_empty()
    }

    /// Whether everything up to this message of the stream was read.
    pub(crate) fn has_read(&self, sequence: u64) -> bool {
        let is_behind =
            |held: &Partition| !held.leaving && held.received < Position::end_of(sequence);
        self.pending.values().sum::<u64>() == 0 || !self.partitions.values().any(is_behind)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use poa_core::{AgentId, DataTypes, Draft, Format, MessageId, Payload};

    use super::*;

    fn event() -> Event {
        let types = DataTypes::new(["x"]).unwrap();
        let payload = Payload::new(Format::Json, Bytes::from_static(b"{}"));
        let agent = AgentId::new("a").unwrap();
        let draft = Draft::new(agent, types.get("x").unwrap().clone(), payload);
        Event::Message(Message::stamp(draft, MessageId::from_bytes([1; 16]), Timestamp::now()))
    }

    /// Partitions 0 and 1 under epoch 9, nothing confirmed.
    fn held(crashed: bool) -> Held {
        let mut held = Held::default();
        for partition in [0, 1] {
            let mut cursor = Cursor::at(Position::end_of(0));
            cursor.epoch = 9;
            let claimed = Claimed { cursor, revision: 1, crashed };
            let until = Instant::now() + Duration::from_secs(10);
            assert_eq!(held.add(partition, claimed, 1, until), 1);
        }
        held
    }

    fn push(held: &mut Held, partition: u16, sequence: u64, index: usize) {
        let position = Position::new(sequence, index);
        held.push(partition, 9, position, Some((event(), false)));
    }

    fn take(held: &mut Held, size: usize) -> Vec<u64> {
        let mut limits = BatchLimits::default();
        limits.size = size;
        held.prepare(Instant::now());
        let (count, _) = held.fitting(&limits);
        held.hand_out(count).into_iter().map(|(number, _)| number).collect()
    }

    fn position(held: &Held, partition: u16) -> Option<Position> {
        let writes = held.writes(Timestamp::now()).into_iter();
        writes.filter(|w| w.partition == partition).map(|w| w.cursor.position()).next()
    }

    #[tokio::test(start_paused = true)]
    async fn a_cursor_stays_below_what_is_not_confirmed() {
        let mut held = held(false);
        for index in 0..3 {
            push(&mut held, 0, 1, index);
        }
        push(&mut held, 1, 2, 0);
        assert_eq!(take(&mut held, 2), [1, 2]);
        assert_eq!(position(&held, 0), Some(Position::end_of(0)));
        held.confirm(&[]);
        assert_eq!(position(&held, 0), Some(Position::new(1, 1)));
        assert_eq!(position(&held, 1), Some(Position::end_of(1)));
        take(&mut held, 9);
        held.caught_up(1, 5);
        held.confirm(&[]);
        assert_eq!([0, 1].map(|p| position(&held, p)), [Some(Position::end_of(5)); 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_back_comes_first_with_its_numbers() {
        let mut held = held(false);
        (1..=4).for_each(|sequence| push(&mut held, 0, sequence, 0));
        assert_eq!(take(&mut held, 2), [1, 2]);
        held.give_back();
        assert_eq!(take(&mut held, 9), [1, 2, 3, 4]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_read_before_is_not_taken_in_again() {
        let mut held = held(false);
        push(&mut held, 0, 3, 1);
        push(&mut held, 0, 3, 0);
        push(&mut held, 0, 2, 0);
        held.push(0, 8, Position::new(9, 0), Some((event(), false)));
        assert_eq!(take(&mut held, 9), [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_handed_out_after_the_lease() {
        let mut held = held(false);
        push(&mut held, 0, 1, 0);
        push(&mut held, 0, 2, 0);
        assert_eq!(take(&mut held, 1), [1]);
        tokio::time::advance(Duration::from_secs(11)).await;
        held.confirm(&[]);
        assert!(take(&mut held, 9).is_empty());
        assert!(
            held.writes(Timestamp::now()).is_empty(),
            "a cursor without a lease is not written"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_partition_leaves_when_nothing_of_it_is_in_flight() {
        let mut held = held(false);
        (1..=3).for_each(|sequence| push(&mut held, 0, sequence, 0));
        take(&mut held, 1);
        held.leave(0);
        assert!(held.left().is_empty());
        push(&mut held, 0, 4, 0);
        held.caught_up(1, 4);
        held.confirm(&[]);
        assert_eq!(held.left(), [0]);
        // The next holder reads what this one had read and not handed out.
        assert_eq!(position(&held, 0), Some(Position::end_of(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_is_listed_in_the_cursor() {
        let mut held = held(false);
        push(&mut held, 0, 1, 0);
        push(&mut held, 0, 1, 1);
        let numbers = take(&mut held, 9);
        held.confirm(&numbers[1..]);
        let write = held.writes(Timestamp::now()).remove(0);
        assert_eq!(write.cursor.lost().collect::<Vec<_>>(), [Position::new(1, 1)]);
        held.written(write, 2);
        let again: Vec<_> = held.writes(Timestamp::now());
        assert!(again.iter().all(|write| write.partition == 1), "{again:?}");
    }

    /// The node hands out what may be the reason for a crash only after the cursor names it. Returns the cursor.
    fn try_one(held: &mut Held) -> Option<Cursor> {
        held.prepare(Instant::now());
        let trying = held.must_write().then(|| {
            let write = held.writes(Timestamp::now()).remove(0);
            let cursor = write.cursor.clone();
            held.written(write, 2);
            cursor
        });
        assert_eq!(take(held, 9).len(), 1, "one by one");
        trying
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_crash_events_come_one_by_one() {
        let mut held = held(true);
        (1..=2).for_each(|sequence| push(&mut held, 0, sequence, 0));
        let cursor = try_one(&mut held).unwrap();
        let first = Position::new(1, 0).raw();
        assert_eq!(cursor.trying, Some(Trying { position: first, crashes: 0 }));
        assert!(held.confirm(&[]), "written at once");
        assert!(try_one(&mut held).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_over_which_three_nodes_ended_is_set_aside() {
        // The first ended with a whole batch; the second and the third with this message alone.
        let mut held = held(true);
        let trying = Some(Trying { position: Position::new(1, 0).raw(), crashes: MOST_CRASHES });
        for partition in held.partitions.values_mut() {
            partition.cursor.trying = trying;
        }
        (1..=2).for_each(|sequence| push(&mut held, 0, sequence, 0));
        held.prepare(Instant::now());
        assert_eq!(held.shed().len(), 1);
        assert_eq!(position(&held, 0), Some(Position::end_of(0)), "not before it is safe");
        held.shed_kept(1);
        assert_eq!(position(&held, 0), Some(Position::end_of(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn shedding_takes_the_oldest() {
        let mut held = held(false);
        (1..=4).for_each(|sequence| push(&mut held, 0, sequence, 0));
        let most = held.window_bytes() / 2;
        assert_eq!(held.shed_while(false, |held| held.window_bytes() > most), 2);
        assert_eq!(position(&held, 0), Some(Position::end_of(2)));
        assert_eq!(held.shed_while(true, |held| held.window_bytes() > 0), 0);
        assert_eq!(held.shed().len(), 2);
        assert_eq!(position(&held, 0), Some(Position::end_of(2)));
    }
}
