//! The records of a lane that are on their way, and the choice of those that may follow.

use std::collections::{HashMap, HashSet, VecDeque};

use poa_core::AgentId;

use super::item::Item;
use super::lane::PARCEL;

/// The most records that are looked at for the next publishes.
const ROUND: usize = 8192;
/// The same while others are in flight: it is done again with each of them that is stored.
const BESIDE: usize = 256;
/// The most bytes that are put together at once.
const ROUND_BYTES: usize = 4 * PARCEL;
/// The most keyed messages that are in flight at once in a lane.
const KEYED: usize = 256;

/// The records of a lane that were sent and neither stored nor refused.
///
/// Keyed messages follow each other without a pause, as each is a publish of its own. The others wait for those before them, so that many
/// share a publish. Records of an agent that has something in flight wait as well: a publish that has to be repeated must not be overtaken.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    agents: HashMap<AgentId, usize>,
    keyed: usize,
    packed: usize,
    /// The records that were held back at the last look at the queue.
    held: Held,
}

/// Why records were held back.
#[derive(Debug, Default)]
struct Held {
    /// Agents of which something has to wait, and so all that comes later.
    agents: HashSet<AgentId>,
    /// Some of them without a key.
    packed: bool,
    /// There was no room for more.
    is_full: bool,
}

/// The part of it that one publish has.
#[derive(Debug)]
pub(super) struct Load {
    agents: Vec<AgentId>,
    keyed: usize,
    bytes: usize,
}

impl Load {
    /// The size of the records while they are queued.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn packed(&self) -> usize {
        self.agents.len() - self.keyed
    }
}

impl InFlight {
    /// The records of a publish are sent.
    pub(super) fn add(&mut self, items: &[Item]) -> Load {
        let load = Load {
            agents: items.iter().map(|item| item.agent.clone()).collect(),
            keyed: items.iter().filter(|item| item.is_keyed()).count(),
            bytes: items.iter().map(Item::size).sum(),
        };
        for agent in &load.agents {
            *self.agents.entry(agent.clone()).or_default() += 1;
        }
        self.keyed += load.keyed;
        self.packed += load.packed();
        load
    }

    /// They are stored or refused. Whether something that was held back may be sent now.
    pub(super) fn remove(&mut self, load: &Load) -> bool {
        let mut frees = self.held.is_full;
        for agent in &load.agents {
            if let Some(count) = self.agents.get_mut(agent) {
                *count -= 1;
                if *count == 0 {
                    self.agents.remove(agent);
                    frees |= self.held.agents.contains(agent);
                }
            }
        }
        self.keyed -= load.keyed;
        self.packed -= load.packed();
        frees || self.held.packed && self.packed == 0 || self.agents.is_empty()
    }

    /// Takes from a queue what may be sent now, in order. The rest stays, in order.
    pub(super) fn choose(&mut self, queue: &mut VecDeque<Item>) -> Vec<Item> {
        let reach = if self.agents.is_empty() { ROUND } else { BESIDE };
        let is_cut = queue.len() > reach;
        let mut choice = Choice::beside(self);
        let (mut taken, mut left) = (Vec::new(), Vec::new());
        for item in queue.drain(..queue.len().min(reach)) {
            if choice.takes(&item) { taken.push(item) } else { left.push(item) }
        }
        left.into_iter().rev().for_each(|item| queue.push_front(item));
        let mut held = choice.held;
        held.is_full |= is_cut;
        self.held = held;
        taken
    }
}

/// A choice under way.
struct Choice<'a> {
    in_flight: &'a InFlight,
    held: Held,
    count: usize,
    bytes: usize,
    keyed: usize,
}

impl<'a> Choice<'a> {
    fn beside(in_flight: &'a InFlight) -> Self {
        let keyed = in_flight.keyed;
        Self { in_flight, held: Held::default(), count: 0, bytes: 0, keyed }
    }

    fn takes(&mut self, item: &Item) -> bool {
        let is_keyed = item.is_keyed();
        let bytes = self.bytes + item.record.len();
        let keyed = self.keyed + usize::from(is_keyed);
        let (no_room, no_slot) = (bytes > ROUND_BYTES, is_keyed && keyed > KEYED);
        // A record that is larger than all of that goes alone.
        self.held.is_full |= self.count > 0 && no_room || no_slot;
        if self.held.is_full {
            return false;
        }
        let for_others = !is_keyed && self.in_flight.packed > 0;
        let has_to_wait = self.in_flight.agents.contains_key(&item.agent)
            || self.held.agents.contains(&item.agent)
            || for_others;
        if has_to_wait {
            self.held.packed |= for_others;
            self.held.agents.insert(item.agent.clone());
            return false;
        }
        (self.count, self.bytes, self.keyed) = (self.count + 1, bytes, keyed);
        true
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use poa_core::engine::Fingerprint;
    use poa_core::{Ack, DataTypes, IdempotencyKey};

    use super::super::item::Content;
    use super::*;

    fn item(agent: &str, number: u8, is_keyed: bool) -> Item {
        let data_type = DataTypes::new(["x"]).unwrap().get("x").unwrap().clone();
        let key = IdempotencyKey::from_bytes([number; 16]);
        let key = is_keyed.then(|| (key, Fingerprint::of("", b"")));
        Item {
            agent: AgentId::new(agent.to_owned()).unwrap(),
            content: Content::Message { data_type, key, ack: Ack::Stored, call: None },
            record: Bytes::copy_from_slice(&[number]),
        }
    }

    fn numbers(items: impl IntoIterator<Item = Item>) -> Vec<u8> {
        items.into_iter().map(|item| item.record[0]).collect()
    }

    #[test]
    fn keyed_messages_of_other_agents_follow_and_an_agent_waits_for_itself() {
        let mut in_flight = InFlight::default();
        let mut queue = VecDeque::from([item("a", 1, true), item("b", 2, true)]);
        let first = in_flight.choose(&mut queue);
        let loads = [in_flight.add(&first[..1]), in_flight.add(&first[1..])];
        assert_eq!(numbers(first), [1, 2]);
        queue.extend([item("a", 3, true), item("c", 4, true), item("a", 5, true)]);
        let next = in_flight.choose(&mut queue);
        let load = in_flight.add(&next);
        assert_eq!(numbers(next), [4]);
        assert!(!in_flight.remove(&loads[1]), "nothing of b waits");
        assert!(in_flight.remove(&loads[0]));
        assert_eq!(numbers(in_flight.choose(&mut queue)), [3, 5], "in order");
        in_flight.remove(&load);
        assert!(in_flight.agents.is_empty() && in_flight.keyed == 0 && in_flight.packed == 0);
    }

    #[test]
    fn messages_without_a_key_wait_for_others_like_them_and_hold_their_agent() {
        let mut in_flight = InFlight::default();
        let mut queue = VecDeque::from([item("a", 1, false)]);
        let first = in_flight.choose(&mut queue);
        let load = in_flight.add(&first);
        queue.extend([
            item("b", 2, false),
            item("c", 3, true),
            item("b", 4, true),
            item("d", 5, false),
        ]);
        assert_eq!(numbers(in_flight.choose(&mut queue)), [3], "b keeps its order");
        assert!(in_flight.remove(&load));
        assert_eq!(numbers(in_flight.choose(&mut queue)), [2, 4, 5]);
        assert!(queue.is_empty());
    }

    #[test]
    fn what_is_in_flight_has_bounds() {
        let mut in_flight = InFlight::default();
        let agents = 0..KEYED + 10;
        let mut queue: VecDeque<_> =
            agents.map(|agent| item(&format!("agent-{agent}"), 0, true)).collect();
        let first = in_flight.choose(&mut queue);
        assert_eq!((first.len(), queue.len()), (KEYED, 10));
        in_flight.add(&first);
        assert!(in_flight.choose(&mut queue).is_empty());
        assert_eq!(queue.len(), 10);
        let mut large = item("large", 0, false);
        large.record = vec![0; ROUND_BYTES + 1].into();
        let mut queue = VecDeque::from([large, item("small", 1, false)]);
        assert_eq!(InFlight::default().choose(&mut queue).len(), 1, "it goes alone");
        assert_eq!(numbers(queue), [1]);
    }
}
