//! The lane of a partition: its records, and the order in which they may be sent.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;
use poa_core::AgentId;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::item::{Content, Item};
use super::round::Parcel;

/// The most records that are looked at, or taken, at once.
const ROUND: usize = 8192;
/// The most keyed messages that are on their way at once in a lane.
const KEYED: usize = 256;

/// The queue of one partition.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    queue: Mutex<Queue>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<Item>,
    /// The number of keyed messages among them.
    keyed: usize,
    /// The last change of each agent for which there was no room.
    changes: HashMap<AgentId, Item>,
    out: Out,
}

/// The publishes on their way.
#[derive(Debug, Default)]
struct Out {
    /// The number of publishes with something of an agent.
    agents: HashMap<AgentId, usize>,
    /// The number of keyed messages.
    keyed: usize,
    /// The number of publishes of the round in progress.
    round: usize,
}

impl Out {
    fn begin(&mut self, trip: &Trip) {
        *self.of(trip) += 1;
        for agent in &trip.agents {
            *self.agents.entry(agent.clone()).or_default() += 1;
        }
    }

    fn end(&mut self, trip: &Trip) {
        *self.of(trip) -= 1;
        for agent in &trip.agents {
            if let Some(publishes) = self.agents.get_mut(agent) {
                *publishes -= 1;
                if *publishes == 0 {
                    self.agents.remove(agent);
                }
            }
        }
    }

    fn of(&mut self, trip: &Trip) -> &mut usize {
        if trip.is_keyed { &mut self.keyed } else { &mut self.round }
    }
}

/// A publish on its way.
#[derive(Debug)]
pub(super) struct Trip {
    agents: Vec<AgentId>,
    is_keyed: bool,
    /// The size of what it carries.
    pub(super) bytes: usize,
}

impl Trip {
    fn of(parcel: &Parcel) -> Self {
        let agents: HashSet<_> = parcel.items.iter().map(|item| &item.agent).collect();
        Self {
            agents: agents.into_iter().cloned().collect(),
            is_keyed: parcel.key.is_some(),
            bytes: parcel.items.iter().map(Item::size).sum(),
        }
    }
}

impl Lane {
    pub(crate) fn push(&self, item: Item) {
        self.queue.lock().push(item);
        self.filled.notify_one();
    }

    /// Keeps a change of activity until there is room for it, and forgets an earlier one of the same agent.
    pub(crate) fn keep_change(&self, item: Item) {
        self.queue.lock().changes.insert(item.agent.clone(), item);
        self.filled.notify_one();
    }

    /// Completes when something was pushed since the last call that completed.
    pub(super) fn filled(&self) -> Notified<'_> {
        self.filled.notified()
    }

    /// The records that may be sent now; none if there are none. Changes that were kept count as queued from here on.
    pub(super) fn take(&self, most_bytes: usize, queued: &AtomicUsize) -> Vec<Item> {
        let mut queue = self.queue.lock();
        if queue.items.is_empty() {
            let changes = std::mem::take(&mut queue.changes);
            queued.fetch_add(changes.values().map(Item::size).sum(), Relaxed);
            queue.items.extend(changes.into_values());
        }
        queue.take(most_bytes)
    }

    /// This publish is about to begin.
    pub(super) fn departs(&self, parcel: &Parcel) -> Trip {
        let trip = Trip::of(parcel);
        self.queue.lock().out.begin(&trip);
        trip
    }

    /// This publish has ended, well or not.
    pub(super) fn returns(&self, trip: &Trip) {
        self.queue.lock().out.end(trip);
    }
}

impl Queue {
    fn push(&mut self, item: Item) {
        self.keyed += usize::from(is_keyed(&item));
        self.items.push_back(item);
    }

    fn take(&mut self, most_bytes: usize) -> Vec<Item> {
        if self.out.round > 0 && self.keyed == 0 {
            return Vec::new();
        }
        let chosen = self.choose(most_bytes);
        let count = chosen.iter().filter(|chosen| **chosen).count();
        let mut taken = Vec::with_capacity(count);
        if count == chosen.len() {
            taken.extend(self.items.drain(..count));
        } else {
            let mut kept = Vec::with_capacity(chosen.len() - count);
            for (item, chosen) in self.items.drain(..chosen.len()).zip(chosen) {
                if chosen { taken.push(item) } else { kept.push(item) }
            }
            kept.into_iter().rev().for_each(|item| self.items.push_front(item));
        }
        self.keyed -= taken.iter().filter(|item| is_keyed(item)).count();
        taken
    }

    /// Chooses among the oldest items those that may be sent: none of an agent of which something is on its way, or stays behind.
    fn choose(&self, most_bytes: usize) -> Vec<bool> {
        let mut behind: HashSet<&AgentId> = HashSet::new();
        let (mut bytes, mut keyed) = (0, self.out.keyed);
        let mut chosen = Vec::new();
        for item in self.items.iter().take(ROUND) {
            let fits = bytes == 0 || bytes + item.record.len() <= most_bytes;
            if !fits {
                break;
            }
            let may_go = if is_keyed(item) { keyed < KEYED } else { self.out.round == 0 };
            let is_chosen = may_go
                && !self.out.agents.contains_key(&item.agent)
                && !behind.contains(&item.agent);
            if is_chosen {
                bytes += item.record.len();
                keyed += usize::from(is_keyed(item));
            } else {
                behind.insert(&item.agent);
            }
            chosen.push(is_chosen);
        }
        chosen
    }
}

fn is_keyed(item: &Item) -> bool {
    matches!(item.content, Content::Message { key: Some(_), .. })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use poa_core::engine::Fingerprint;
    use poa_core::{Ack, DataTypes, IdempotencyKey};
    use proptest::prelude::*;

    use super::super::round::parcels;
    use super::*;
    use crate::names::Names;

    /// A message, with its number as the record.
    fn item(agent: u8, is_keyed: bool, number: u32) -> Item {
        let key = IdempotencyKey::from_bytes(u128::from(number).to_le_bytes());
        Item {
            agent: AgentId::new(agent.to_string()).unwrap(),
            content: Content::Message {
                data_type: DataTypes::new(["x"]).unwrap().get("x").unwrap().clone(),
                key: is_keyed.then(|| (key, Fingerprint::of("", b""))),
                ack: Ack::Stored,
                call: None,
            },
            record: Bytes::copy_from_slice(&number.to_le_bytes()),
        }
    }

    fn lane(items: &[(u8, bool)]) -> Lane {
        let lane = Lane::default();
        (0..)
            .zip(items)
            .for_each(|(number, (agent, keyed))| lane.push(item(*agent, *keyed, number)));
        lane
    }

    fn number(item: &Item) -> u32 {
        u32::from_le_bytes(item.record[..].try_into().unwrap())
    }

    /// A publish that began, and what it carries.
    type Begun = (Trip, Vec<(AgentId, u32)>);

    /// Begins to send everything that may go.
    fn send(lane: &Lane) -> Vec<Begun> {
        let items = lane.take(usize::MAX, &AtomicUsize::new(0));
        let begin = |parcel: Parcel| {
            let carried = parcel.items.iter().map(|item| (item.agent.clone(), number(item)));
            (lane.departs(&parcel), carried.collect())
        };
        parcels(items, &Names::new("poa", 16), 0, 1 << 20).into_iter().map(begin).collect()
    }

    fn numbers(begun: &[Begun]) -> Vec<u32> {
        begun.iter().flat_map(|(_, carried)| carried.iter().map(|(_, number)| *number)).collect()
    }

    #[test]
    fn keyed_messages_do_not_wait_for_those_of_other_agents() {
        let lane = lane(&[(1, true), (2, false)]);
        let first = send(&lane);
        assert_eq!(numbers(&first), [0, 1]);
        (2..).zip([(3, true), (1, true), (4, false)]).for_each(|(number, (agent, keyed))| {
            lane.push(item(agent, keyed, number));
        });
        assert_eq!(numbers(&send(&lane)), [2], "the others wait for their agent, or for the round");
        lane.returns(&first[0].0);
        assert_eq!(numbers(&send(&lane)), [3]);
        lane.returns(&first[1].0);
        assert_eq!(numbers(&send(&lane)), [4]);
    }

    #[test]
    fn a_message_that_waits_keeps_its_place_before_later_ones_of_its_agent() {
        let lane = lane(&[(1, false)]);
        let round = send(&lane);
        lane.push(item(2, false, 1));
        lane.push(item(2, true, 2));
        assert_eq!(numbers(&send(&lane)), [0; 0]);
        lane.returns(&round[0].0);
        assert_eq!(numbers(&send(&lane)), [1, 2]);
    }

    #[test]
    fn keyed_messages_on_their_way_have_a_bound() {
        let lane = lane(&(0..=255).map(|agent| (agent, true)).collect::<Vec<_>>());
        let first = send(&lane);
        assert_eq!(first.len(), KEYED);
        let other = Item { agent: AgentId::new("other").unwrap(), ..item(0, true, 256) };
        lane.push(other);
        assert!(send(&lane).is_empty());
        lane.returns(&first[7].0);
        assert_eq!(numbers(&send(&lane)), [256]);
    }

    proptest! {
        /// Publishes end in any order, and messages arrive meanwhile.
        #[test]
        fn nothing_is_lost_and_no_agent_is_reordered(
            messages in prop::collection::vec((0..5_u8, any::<bool>()), 1..80),
            choices in prop::collection::vec(any::<prop::sample::Index>(), 200),
        ) {
            let (lane, mut waiting) = (Lane::default(), (0..).zip(&messages));
            let (mut out, mut stored): (Vec<Begun>, Vec<(AgentId, u32)>) = Default::default();
            let mut choices = choices.iter().cycle();
            while stored.len() < messages.len() {
                let (choice, pushes) = (choices.next().unwrap(), choices.next().unwrap().index(4));
                for (number, (agent, keyed)) in waiting.by_ref().take(pushes) {
                    lane.push(item(*agent, *keyed, number));
                }
                out.extend(send(&lane));
                if !out.is_empty() {
                    let (trip, carried) = out.swap_remove(choice.index(out.len()));
                    lane.returns(&trip);
                    stored.extend(carried);
                } else {
                    prop_assert!(lane.queue.lock().items.is_empty(), "something waits for nothing");
                }
            }
            let queue = lane.queue.lock();
            prop_assert!(queue.keyed == 0 && queue.out.agents.is_empty());
            let mut numbers: Vec<_> = stored.iter().map(|(_, number)| *number).collect();
            numbers.sort_unstable();
            prop_assert!(numbers.into_iter().eq(0..messages.len() as u32));
        }

        /// A record that is taken later is younger than those of its agent before, none of which is on its way then.
        #[test]
        fn nothing_of_an_agent_is_taken_while_something_of_it_is_on_its_way(
            messages in prop::collection::vec((0..5_u8, any::<bool>()), 1..80),
            choices in prop::collection::vec(any::<prop::sample::Index>(), 200),
        ) {
            let lane = lane(&messages);
            let mut out: Vec<Begun> = Vec::new();
            let mut last: HashMap<AgentId, u32> = HashMap::new();
            for choice in choices {
                let busy: HashSet<_> =
                    out.iter().flat_map(|(trip, _)| trip.agents.iter().cloned()).collect();
                let begun = send(&lane);
                for (agent, number) in begun.iter().flat_map(|(_, carried)| carried) {
                    prop_assert!(!busy.contains(agent));
                    let before = last.insert(agent.clone(), *number);
                    prop_assert!(before.is_none_or(|before| before < *number));
                }
                out.extend(begun);
                if out.is_empty() {
                    break;
                }
                let (trip, _) = out.swap_remove(choice.index(out.len()));
                lane.returns(&trip);
            }
        }
    }
}
