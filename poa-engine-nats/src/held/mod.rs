//! One receiver on one node: the partitions it holds, and the events it has read and not confirmed.

mod partition;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use poa_core::engine::Event;
use poa_core::{BatchLimits, Message, Timestamp};
use tokio::time::Instant;

use crate::cursor::{Claimed, Cursor};
use crate::pack::Position;
use partition::{Partition, Permit};

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
    /// The most events in a batch.
    batch: usize,
}

/// A cursor that is to be written.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) partition: u16,
    pub(crate) cursor: Cursor,
    pub(crate) revision: u64,
    /// How many events were confirmed since the last write.
    confirmed: u32,
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
        let held = Partition::new(claimed, group, until);
        let start = held.received.resume_at();
        self.partitions.insert(partition, held);
        start
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
        let is_careful = self.is_careful();
        for entry in &self.window {
            let held = is_careful.then(|| self.partitions.get(&entry.partition)).flatten();
            match held.map_or(Permit::Free, |held| held.permit(entry.position, self.batch)) {
                Permit::Free => {}
                // Alone, or the batch ends before it.
                Permit::Alone => return (count.max(1), true),
                Permit::Later => return (count, true),
            }
            bytes += entry.event.footprint();
            if count == limits.size.max(1) || (count > 0 && bytes > most) {
                return (count, true);
            }
            count += 1;
        }
        (count, count >= limits.size.max(1) || bytes >= most)
    }

    /// Whether a cursor must be written before the next batch is handed out.
    pub(crate) fn must_write(&self) -> bool {
        // Most of the time none has to, and this is asked for each batch.
        if !self.partitions.values().any(Partition::must_write) {
            return false;
        }
        let next = self.window.iter().take(self.batch);
        let mut held = next.filter_map(|entry| self.partitions.get(&entry.partition));
        held.any(Partition::must_write)
    }

    /// Prepares the next batch where a node may have ended over one of its events: it is handed out only after the cursors name it.
    /// A message over which nodes ended repeatedly is set aside.
    pub(crate) fn prepare(&mut self, now: Instant, limits: &BatchLimits) {
        self.batch = limits.size.max(1);
        self.drop_expired(now);
        if self.is_careful() {
            self.set_aside();
            self.try_next();
        }
    }

    fn is_careful(&self) -> bool {
        self.partitions.values().any(|held| held.is_careful(self.batch))
    }

    fn set_aside(&mut self) {
        let is_poison = |entry: &Entry| {
            let held = self.partitions.get(&entry.partition);
            held.is_some_and(|held| held.is_poison(entry.position))
        };
        let found = self.window.iter().take(self.batch).position(is_poison);
        if let Some(entry) = found.and_then(|place| self.window.remove(place)) {
            tracing::error!("setting aside a message over which the server ended three times");
            self.window_bytes = self.window_bytes.saturating_sub(entry.event.footprint());
            self.shed.push_back(entry);
        }
    }

    /// Names what is tried next in the cursors.
    fn try_next(&mut self) {
        let mut next: BTreeMap<u16, (Position, Position)> = BTreeMap::new();
        for entry in self.window.iter().take(self.batch) {
            next.entry(entry.partition).or_insert((entry.position, entry.position)).1 =
                entry.position;
        }
        for (partition, (first, last)) in next {
            if let Some(held) = self.partitions.get_mut(&partition) {
                held.try_next(first, last, self.batch);
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
            held.confirmed();
            at_once |= entry.urgent || held.is_to_be_written(self.batch);
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
            if cursor == held.cursor && !held.must_be_named && !held.dirty {
                return None;
            }
            cursor.written = now.as_micros();
            let (revision, confirmed) = (held.revision, held.unwritten);
            Some(Write { partition: *number, cursor, revision, confirmed })
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
        if let Some(held) = self.partitions.get_mut(&write.partition)
            && held.epoch == write.cursor.epoch
        {
            held.written(write, revision);
        }
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
