//! The most recent events, in memory, shared by all subscribers.
//!
//! Events of each data type are in a lane of their own, so that a stuck subscriber keeps only the types it subscribed to. A
//! message is held once, however many subscribers read it.

use std::collections::VecDeque;

use poa_core::DataTypes;
use poa_core::engine::{Event, TypeSet};

use crate::load::Load;

/// The lanes of all data types, and one for changes of activity.
#[derive(Debug)]
pub(crate) struct Tail {
    lanes: Vec<Lane>,
    types: DataTypes,
    bytes: usize,
    /// With more than this in memory, the oldest events are dropped: they are on the disk. If absent, nothing is dropped before
    /// every subscriber has confirmed it.
    limit: Option<usize>,
}

#[derive(Debug)]
struct Lane {
    events: VecDeque<(u64, Event)>,
    bytes: usize,
    /// Events of this lane from here on are in memory.
    begin: u64,
}

/// The lanes that a subscriber reads.
#[derive(Clone, Debug)]
pub(crate) struct Lanes(Box<[usize]>);

impl Tail {
    /// An empty tail that begins at this position.
    pub(crate) fn new(types: DataTypes, begin: u64, limit: Option<usize>) -> Self {
        let lane = || Lane { events: VecDeque::new(), bytes: 0, begin };
        let lanes = (0..=types.iter().len()).map(|_| lane()).collect();
        Self { lanes, types, bytes: 0, limit }
    }

    /// The lanes of these types, and that of activity.
    pub(crate) fn lanes(&self, types: TypeSet) -> Lanes {
        let subscribed = self.types.iter().filter(|data_type| types.contains(data_type));
        let activity = std::iter::once(self.types.iter().len());
        Lanes(subscribed.map(|data_type| data_type.index()).chain(activity).collect())
    }

    /// Appends an event of this size.
    pub(crate) fn push(&mut self, position: u64, event: Event, bytes: usize) {
        let lane = match &event {
            Event::Message(message) => message.data_type().index(),
            Event::Activity(_) => self.lanes.len() - 1,
        };
        let lane = &mut self.lanes[lane];
        lane.events.push_back((position, event));
        lane.bytes += bytes;
        self.bytes += bytes;
    }

    /// Whether everything in these lanes from this position on is in memory, as it always is without a log.
    #[inline]
    pub(crate) fn covers(&self, lanes: &Lanes, from: u64) -> bool {
        self.limit.is_none() || lanes.0.iter().all(|lane| self.lanes[*lane].begin <= from)
    }

    /// The first event of these lanes at or after this position.
    pub(crate) fn first(&self, lanes: &Lanes, from: u64) -> Option<&(u64, Event)> {
        let heads = lanes.0.iter().filter_map(|lane| {
            let events = &self.lanes[*lane].events;
            events.get(index_of(events, from))
        });
        heads.min_by_key(|(position, _)| *position)
    }

    /// The position of the event that follows these, which were read from these lanes; `None` if none does.
    ///
    /// It is that of a record, whatever is dropped from memory before it is read: within a record, a reader of the log would report damage,
    /// and could take a part of a payload for a record.
    pub(crate) fn after(&self, lanes: &Lanes, events: &[(u64, Event)]) -> Option<u64> {
        let (last, _) = events.last()?;
        self.first(lanes, last + 1).map(|(position, _)| *position)
    }

    /// Events of these lanes in order, at or after `from` and before `end`, as long as they fit `limit`.
    pub(crate) fn read(
        &self,
        lanes: &Lanes,
        from: u64,
        end: u64,
        limit: Load,
    ) -> Vec<(u64, Event)> {
        let mut cursors: Vec<_> =
            lanes.0.iter().map(|lane| Cursor::at(&self.lanes[*lane], from)).collect();
        cursors.retain(|cursor| cursor.head < end);
        let mut read = Vec::new();
        let mut load = Load::default();
        while let Some(next) = cursors.iter_mut().min_by_key(|cursor| cursor.head) {
            let Some((position, event)) = next.lane.events.get(next.index) else { break };
            let more = Load::of(event);
            if *position >= end || !load.fits(more, limit) {
                break;
            }
            load.add(more);
            read.push((*position, event.clone()));
            next.advance();
        }
        read
    }

    /// The size of the events in these lanes from this position on.
    pub(crate) fn load(&self, lanes: &Lanes, from: u64) -> Load {
        let mut load = Load::default();
        for lane in &lanes.0 {
            let events = &self.lanes[*lane].events;
            events.range(index_of(events, from)..).for_each(|(_, event)| load.add(Load::of(event)));
        }
        load
    }

    /// Drops what every subscriber of a lane has confirmed: `keep` returns the position from which a lane is needed. The dropped
    /// events are returned, to be freed outside of the lock.
    ///
    /// With a log behind it, a subscriber that is added later and starts further back has to read from the log.
    pub(crate) fn trim(&mut self, lanes: &Lanes, keep: impl Fn(usize) -> u64) -> Vec<(u64, Event)> {
        let mut dropped = Vec::new();
        for number in &lanes.0 {
            let from = keep(*number);
            let lane = &mut self.lanes[*number];
            let count = index_of(&lane.events, from);
            if let Some(last) = count.checked_sub(1).filter(|_| self.limit.is_some()) {
                lane.begin = lane.events[last].0 + 1;
            }
            self.bytes -= lane.drop_first(count, &mut dropped);
        }
        dropped
    }

    /// Drops the oldest events of the largest lanes, if there are too many in memory.
    pub(crate) fn evict(&mut self) -> Vec<(u64, Event)> {
        let mut dropped = Vec::new();
        let Some(limit) = self.limit.filter(|limit| self.bytes > *limit) else { return dropped };
        while self.bytes > limit / 4 * 3 {
            let Some(largest) = self.lanes.iter_mut().max_by_key(|lane| lane.bytes) else { break };
            if largest.events.is_empty() {
                break;
            }
            let count = largest.events.len().div_ceil(4);
            let last = largest.events[count - 1].0;
            self.bytes -= largest.drop_first(count, &mut dropped);
            largest.begin = last + 1;
        }
        dropped
    }
}

impl Lanes {
    pub(crate) fn contains(&self, lane: usize) -> bool {
        self.0.contains(&lane)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().copied()
    }
}

impl Lane {
    /// Drops this many of the oldest events; returns their size.
    fn drop_first(&mut self, count: usize, dropped: &mut Vec<(u64, Event)>) -> usize {
        let before = dropped.len();
        dropped.extend(self.events.drain(..count));
        let bytes = Load::of_all(&dropped[before..]).bytes;
        self.bytes -= bytes;
        self.give_back_memory();
        bytes
    }

    fn give_back_memory(&mut self) {
        const KEPT: usize = 4096;
        if self.events.capacity() > KEPT && self.events.len() < self.events.capacity() / 8 {
            self.events.shrink_to(KEPT.max(self.events.len() * 2));
        }
    }
}

/// The read position in a lane.
struct Cursor<'a> {
    lane: &'a Lane,
    index: usize,
    /// The position there; the greatest possible one at the end.
    head: u64,
}

impl<'a> Cursor<'a> {
    fn at(lane: &'a Lane, from: u64) -> Self {
        let index = index_of(&lane.events, from);
        let mut cursor = Self { lane, index, head: u64::MAX };
        cursor.look();
        cursor
    }

    fn advance(&mut self) {
        self.index += 1;
        self.look();
    }

    fn look(&mut self) {
        self.head = self.lane.events.get(self.index).map_or(u64::MAX, |(position, _)| *position);
    }
}

/// The number of events before this position. Most subscribers are near an end, so the ends are searched first.
fn index_of(events: &VecDeque<(u64, Event)>, from: u64) -> usize {
    match (events.front(), events.back()) {
        (Some((first, _)), _) if *first >= from => 0,
        (_, Some((last, _))) if *last < from => events.len(),
        _ => events.partition_point(|(position, _)| *position < from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use poa_core::{AgentId, Draft, Message, MessageId, Payload, Timestamp};

    fn event(types: &DataTypes, name: &str) -> Event {
        let payload = Payload::json(&serde_json::json!({})).unwrap();
        let data_type = types.get(name).unwrap().clone();
        let draft = Draft::new(AgentId::new("agent").unwrap(), data_type, payload);
        Event::Message(Message::stamp(draft, MessageId::from_bytes([0; 16]), Timestamp::now()))
    }

    fn tail(limit: Option<usize>) -> (Tail, DataTypes, TypeSet) {
        let types = DataTypes::new(["a", "b"]).unwrap();
        let mut tail = Tail::new(types.clone(), 0, limit);
        for position in 0..10 {
            let event = event(&types, if position % 2 == 0 { "a" } else { "b" });
            let bytes = event.footprint();
            tail.push(position * 10, event, bytes);
        }
        let both = types.iter().collect();
        (tail, types, both)
    }

    fn positions(events: &[(u64, Event)]) -> Vec<u64> {
        events.iter().map(|(position, _)| *position).collect()
    }

    const ALL: Load = Load { count: usize::MAX, bytes: usize::MAX };

    #[test]
    fn lanes_are_read_in_the_order_of_positions() {
        let (tail, types, both) = tail(None);
        let lanes = tail.lanes(both);
        assert_eq!(positions(&tail.read(&lanes, 15, 70, ALL)), [20, 30, 40, 50, 60]);
        let three = Load { count: 3, ..ALL };
        assert_eq!(positions(&tail.read(&lanes, 0, 100, three)), [0, 10, 20]);
        let tiny = Load { bytes: 1, ..ALL };
        assert_eq!(positions(&tail.read(&lanes, 0, 100, tiny)), [0], "at least one");
        let only_b = tail.lanes(types.get("b").into_iter().collect());
        assert_eq!(positions(&tail.read(&only_b, 0, 100, ALL)), [10, 30, 50, 70, 90]);
        assert_eq!(tail.first(&only_b, 11).map(|(position, _)| *position), Some(30));
    }

    #[test]
    fn confirmed_events_are_dropped_from_their_lane_only() {
        let (mut tail, types, both) = tail(None);
        let lanes = tail.lanes(both);
        let only_a = tail.lanes(types.get("a").into_iter().collect());
        assert_eq!(positions(&tail.trim(&only_a, |_| 41)), [0, 20, 40]);
        assert_eq!(positions(&tail.read(&lanes, 0, 100, ALL)), [10, 30, 50, 60, 70, 80, 90]);
        assert!(tail.covers(&lanes, 0), "without a log there is nothing else to read");
    }

    #[test]
    fn dropped_events_are_not_covered_if_they_are_on_the_disk() {
        let (mut tail, _, both) = tail(Some(usize::MAX));
        let lanes = tail.lanes(both);
        assert_eq!(tail.trim(&lanes, |_| 41).len(), 5);
        assert!(!tail.covers(&lanes, 0) && !tail.covers(&lanes, 40) && tail.covers(&lanes, 41));
    }

    #[test]
    fn evicted_events_are_not_covered() {
        let (mut tail, _, both) = tail(Some(1));
        let lanes = tail.lanes(both);
        assert_eq!(tail.evict().len(), 10);
        assert!(!tail.covers(&lanes, 90) && tail.covers(&lanes, 91));
        assert_eq!(tail.bytes, 0);
    }
}
