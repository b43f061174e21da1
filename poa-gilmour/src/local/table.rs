//! Subscriptions by channel and group.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::engine::Registration;
use crate::{Kind, glob};

/// One subscription.
pub(crate) struct Entry {
    pub(crate) id: u64,
    pub(crate) registration: Registration,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.registration.fmt(f)
    }
}

/// A subscription that was taken out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Removed {
    pub(crate) channel: Arc<str>,
    pub(crate) pattern: bool,
    /// There is none left of this channel.
    pub(crate) last: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Table {
    exact: HashMap<Arc<str>, Members>,
    patterns: HashMap<Arc<str>, Members>,
    /// The channel of each subscription.
    places: HashMap<u64, (Arc<str>, bool)>,
    next: u64,
    /// Counts turns where subscriptions of one group overlap.
    turn: AtomicUsize,
}

/// The subscriptions of one channel.
#[derive(Debug, Default)]
struct Members {
    loose: Vec<Arc<Entry>>,
    groups: Vec<Group>,
}

#[derive(Debug)]
struct Group {
    name: Arc<str>,
    members: Vec<Arc<Entry>>,
    turn: AtomicUsize,
}

impl Table {
    pub(super) fn add(&mut self, registration: Registration) -> (u64, bool) {
        let id = self.next;
        self.next += 1;
        let (channel, pattern) = (registration.channel.clone(), registration.pattern);
        self.places.insert(id, (channel.clone(), pattern));
        let members = self.side_mut(pattern).entry(channel).or_default();
        let first = members.is_empty();
        members.add(Arc::new(Entry { id, registration }));
        (id, first)
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Removed> {
        let (channel, pattern) = self.places.remove(&id)?;
        let side = self.side_mut(pattern);
        let members = side.get_mut(&channel)?;
        members.remove(id);
        let last = members.is_empty();
        if last {
            side.remove(&channel);
        }
        Some(Removed { channel, pattern, last })
    }

    pub(super) fn clear(&mut self) {
        self.exact.clear();
        self.patterns.clear();
        self.places.clear();
    }

    pub(super) fn chosen(&self, channel: &str, pattern: bool) -> Vec<Arc<Entry>> {
        self.side(pattern).get(channel).map(Members::chosen).unwrap_or_default()
    }

    pub(super) fn chosen_by_any(&self, channel: &str, taken_by: &[Arc<str>]) -> Vec<Arc<Entry>> {
        let matching = self.patterns.iter().filter(|(pattern, _)| glob::matches(pattern, channel));
        let all = self.exact.get(channel).into_iter().chain(matching.map(|(_, members)| members));
        let mut chosen: Vec<Arc<Entry>> = Vec::new();
        let turn = self.turn.fetch_add(1, Relaxed);
        for (nth, entry) in all.flat_map(Members::chosen).enumerate() {
            let Some(group) = entry.registration.group.as_deref() else {
                chosen.push(entry);
                continue;
            };
            let of_group =
                |other: &&mut Arc<Entry>| other.registration.group.as_deref() == Some(group);
            match chosen.iter_mut().find(of_group) {
                _ if taken_by.iter().any(|taken| **taken == *group) => {}
                // Overlapping subscriptions of a group take turns as well.
                Some(other) if (turn + nth).is_multiple_of(2) => *other = entry,
                Some(_) => {}
                None => chosen.push(entry),
            }
        }
        chosen.retain(|entry| entry.registration.kind == Kind::Slot);
        chosen
    }

    #[cfg(feature = "redis")]
    pub(super) fn has(&self, channel: &str, pattern: bool) -> bool {
        self.side(pattern).contains_key(channel)
    }

    pub(super) fn channels(&self) -> (Vec<Arc<str>>, Vec<Arc<str>>) {
        (self.exact.keys().cloned().collect(), self.patterns.keys().cloned().collect())
    }

    fn side(&self, pattern: bool) -> &HashMap<Arc<str>, Members> {
        if pattern { &self.patterns } else { &self.exact }
    }

    fn side_mut(&mut self, pattern: bool) -> &mut HashMap<Arc<str>, Members> {
        if pattern { &mut self.patterns } else { &mut self.exact }
    }
}

impl Members {
    fn is_empty(&self) -> bool {
        self.loose.is_empty() && self.groups.is_empty()
    }

    fn add(&mut self, entry: Arc<Entry>) {
        let Some(name) = entry.registration.group.clone() else { return self.loose.push(entry) };
        match self.groups.iter_mut().find(|group| group.name == name) {
            Some(group) => group.members.push(entry),
            None => {
                self.groups.push(Group { name, members: vec![entry], turn: AtomicUsize::new(0) });
            }
        }
    }

    fn remove(&mut self, id: u64) {
        self.loose.retain(|entry| entry.id != id);
        for group in &mut self.groups {
            group.members.retain(|entry| entry.id != id);
        }
        self.groups.retain(|group| !group.members.is_empty());
    }

    fn chosen(&self) -> Vec<Arc<Entry>> {
        let of_groups = self.groups.iter().filter_map(Group::next);
        self.loose.iter().chain(of_groups).cloned().collect()
    }
}

impl Group {
    fn next(&self) -> Option<&Arc<Entry>> {
        let turn = self.turn.fetch_add(1, Relaxed);
        self.members.get(turn.checked_rem(self.members.len())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Call, Message, SlotTopic, Topic};

    fn nothing(_: Call) -> std::future::Ready<Message> {
        std::future::ready(Message::ok(crate::Data::null()))
    }

    fn service(group: &str) -> Registration {
        Registration::service(&Topic::new("t").unwrap(), nothing).group(group)
    }

    fn slot(topic: &str, group: &str) -> Registration {
        Registration::slot(&SlotTopic::new(topic).unwrap(), nothing).group(group)
    }

    fn ids(entries: &[Arc<Entry>]) -> Vec<u64> {
        entries.iter().map(|entry| entry.id).collect()
    }

    #[test]
    fn members_of_a_group_take_turns() {
        let mut table = Table::default();
        for group in ["a", "a", "b"] {
            table.add(service(group));
        }
        let turns: Vec<_> =
            (0..3).map(|_| ids(&table.chosen("gilmour.request.t", false))).collect();
        assert_eq!(turns, [[0, 2], [1, 2], [0, 2]]);
    }

    #[test]
    fn the_first_and_the_last_of_a_channel_are_told() {
        let mut table = Table::default();
        assert_eq!(table.add(slot("x.*", "")), (0, true));
        assert_eq!(table.add(slot("x.*", "")), (1, false));
        let removed =
            |last| Some(Removed { channel: "gilmour.slot.x.*".into(), pattern: true, last });
        assert_eq!(table.remove(0), removed(false));
        assert_eq!(table.remove(1), removed(true));
        assert_eq!(table.remove(1), None);
        assert_eq!(table.channels(), (vec![], vec![]));
    }

    #[test]
    fn overlapping_subscriptions_of_a_group_compete() {
        let mut table = Table::default();
        for (topic, group) in [("x.*", "g"), ("x.a", "g"), ("x.*", ""), ("x.b", "g")] {
            table.add(slot(topic, group));
        }
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..10 {
            let mut chosen = ids(&table.chosen_by_any("gilmour.slot.x.a", &[]));
            chosen.sort_unstable();
            assert_eq!(chosen.len(), 2, "{chosen:?}");
            assert!(chosen.contains(&2));
            seen.extend(chosen);
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn a_group_that_has_the_signal_is_passed_over() {
        let mut table = Table::default();
        table.add(slot("x", "poa"));
        table.add(slot("x", "other"));
        assert_eq!(ids(&table.chosen_by_any("gilmour.slot.x", &["poa".into()])), [1]);
    }
}
