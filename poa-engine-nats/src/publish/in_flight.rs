//! The records of a lane that are on their way, and the choice of those that may follow.

use std::collections::{HashMap, HashSet, VecDeque};

use poa_core::AgentId;

use super::item::Item;
use super::lane::PARCEL;

/// The most records that are looked at for the next publishes.
const ROUND: usize = 8192;
/// The same while others are in flight, or wait for the next turn: it is done again with each of them that is stored.
const BESIDE: usize = 256;
/// The most bytes that are put together at once.
const ROUND_BYTES: usize = 4 * PARCEL;
/// The most keyed messages that are in flight at once in a lane.
const KEYED: usize = 256;

/// The records of a lane that were sent and neither stored nor refused.
///
/// Keyed messages follow each other without a pause, as each is a publish of its own. The others wait for those before them and for the next turn,
/// so that many share a publish. Records of an agent that has something in flight wait as well: a publish that has to be repeated must not be
/// overtaken.
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

    /// They are stored or refused. Whether something that was held back may be sent now, whoever's turn it is.
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
        frees || self.agents.is_empty() && !self.waits_for_turn()
    }

    /// Whether messages without a key may be sent, as far as this lane knows.
    pub(super) fn may_pack(&self) -> bool {
        self.packed == 0
    }

    /// Whether messages without a key wait for nothing in this lane.
    pub(super) fn waits_for_turn(&self) -> bool {
        self.held.packed && self.may_pack()
    }

    /// Records without a key wait, and no others.
    pub(super) fn hold_packed(&mut self) {
        self.held = Held { packed: true, ..Held::default() };
    }

    /// Takes from a queue what may be sent now, in order. The rest stays, in order. `turn`: whether those without a key may be sent.
    pub(super) fn choose(&mut self, queue: &mut VecDeque<Item>, turn: bool) -> Vec<Item> {
        let reach = if turn && self.agents.is_empty() { ROUND } else { BESIDE };
        let is_cut = queue.len() > reach;
        let mut choice = Choice::beside(self, turn);
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
    may_pack: bool,
    held: Held,
    count: usize,
    bytes: usize,
    keyed: usize,
}

impl<'a> Choice<'a> {
    fn beside(in_flight: &'a InFlight, turn: bool) -> Self {
        let (keyed, may_pack) = (in_flight.keyed, turn && in_flight.may_pack());
        Self { in_flight, may_pack, held: Held::default(), count: 0, bytes: 0, keyed }
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
        let for_others = !is_keyed && !self.may_pack;
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
        let first = in_flight.choose(&mut queue, true);
        let loads = [in_flight.add(&first[..1]), in_flight.add(&first[1..])];
        assert_eq!(numbers(first), [1, 2]);
        queue.extend([item("a", 3, true), item("c", 4, true), item("a", 5, true)]);
        let next = in_flight.choose(&mut queue, true);
        let load = in_flight.add(&next);
        assert_eq!(numbers(next), [4]);
        assert!(!in_flight.remove(&loads[1]), "nothing of b waits");
        assert!(in_flight.remove(&loads[0]));
        assert_eq!(numbers(in_flight.choose(&mut queue, true)), [3, 5], "in order");
        in_flight.remove(&load);
        assert!(in_flight.agents.is_empty() && in_flight.keyed == 0 && in_flight.packed == 0);
    }

    #[test]
    fn messages_without_a_key_wait_for_others_like_them_and_hold_their_agent() {
        let mut in_flight = InFlight::default();
        let mut queue = VecDeque::from([item("a", 1, false)]);
        let first = in_flight.choose(&mut queue, true);
        let load = in_flight.add(&first);
        queue.extend([
            item("b", 2, false),
            item("c", 3, true),
            item("b", 4, true),
            item("d", 5, false),
        ]);
        assert_eq!(numbers(in_flight.choose(&mut queue, true)), [3], "b keeps its order");
        in_flight.remove(&load);
        assert!(in_flight.waits_for_turn());
        assert_eq!(numbers(in_flight.choose(&mut queue, true)), [2, 4, 5]);
        assert!(queue.is_empty());
    }

    #[test]
    fn between_turns_only_keyed_messages_are_sent_and_none_overtakes_its_agent() {
        let mut in_flight = InFlight::default();
        let mut queue = VecDeque::from([
            item("a", 1, false),
            item("b", 2, true),
            item("a", 3, true),
            item("c", 4, false),
        ]);
        let keyed = in_flight.choose(&mut queue, false);
        let load = in_flight.add(&keyed);
        assert_eq!(numbers(keyed), [2], "3 would overtake 1");
        assert!(in_flight.waits_for_turn());
        assert!(!in_flight.remove(&load), "nothing but the turn is waited for");
        assert_eq!(numbers(in_flight.choose(&mut queue, true)), [1, 3, 4]);
        assert!(!in_flight.waits_for_turn());
    }

    #[test]
    fn what_is_in_flight_has_bounds() {
        let mut in_flight = InFlight::default();
        let agents = 0..KEYED + 10;
        let mut queue: VecDeque<_> =
            agents.map(|agent| item(&format!("agent-{agent}"), 0, true)).collect();
        let first = in_flight.choose(&mut queue, true);
        assert_eq!((first.len(), queue.len()), (KEYED, 10));
        in_flight.add(&first);
        assert!(in_flight.choose(&mut queue, true).is_empty());
        assert_eq!(queue.len(), 10);
        let mut large = item("large", 0, false);
        large.record = vec![0; ROUND_BYTES + 1].into();
        let mut queue = VecDeque::from([large, item("small", 1, false)]);
        assert_eq!(InFlight::default().choose(&mut queue, true).len(), 1, "it goes alone");
        assert_eq!(numbers(queue), [1]);
    }
}
