//! The records of a lane, put together into publishes.

use std::collections::HashMap;

use bytes::Bytes;
use poa_core::{Ack, AgentId, DataType, IdempotencyKey};

use super::item::{Call, Content, Item};
use crate::names::Names;
use crate::pack;

/// One publish.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) subject: String,
    pub(crate) payload: Bytes,
    pub(crate) items: Vec<Item>,
    /// The key of its only message.
    pub(crate) key: Option<IdempotencyKey>,
    /// Whether an answer waits until receivers have confirmed.
    pub(crate) urgent: bool,
}

/// Puts records together: those without a key that go to the same subject share a publish.
///
/// No record of an agent overtakes another of the same agent: it goes into a publish that comes no earlier than the one before.
pub(crate) fn parcels(
    items: Vec<Item>,
    names: &Names,
    partition: u16,
    most_bytes: usize,
) -> Vec<Parcel> {
    let mut parcels: Vec<Open> = Vec::new();
    // By data type; `None` is that of changes of activity.
    let mut open: HashMap<Option<usize>, usize> = HashMap::new();
    let mut last: HashMap<AgentId, usize> = HashMap::new();
    for item in items {
        let (data_type, key, urgent) = describe(&item);
        let earliest = last.get(&item.agent).copied().unwrap_or(0);
        let lane = data_type.map(DataType::index);
        let shared = open.get(&lane).copied().filter(|at| {
            key.is_none() && *at >= earliest && parcels[*at].has_room(&item, most_bytes)
        });
        let at = shared.unwrap_or_else(|| {
            let subject = match data_type {
                Some(data_type) => names.messages(partition, data_type.name()),
                None => names.activity(partition),
            };
            parcels.push(Open { subject, payload: Vec::new(), items: Vec::new(), key, urgent });
            parcels.len() - 1
        });
        if key.is_none() {
            open.insert(lane, at);
        }
        last.insert(item.agent.clone(), at);
        parcels[at].push(item, urgent);
    }
    parcels.into_iter().map(Open::close).collect()
}

/// A publish that records are added to.
struct Open {
    subject: String,
    payload: Vec<u8>,
    items: Vec<Item>,
    key: Option<IdempotencyKey>,
    urgent: bool,
}

impl Open {
    fn has_room(&self, item: &Item, most_bytes: usize) -> bool {
        let bytes = self.payload.len() + item.record.len() + pack::OVERHEAD;
        self.items.len() < pack::MOST && bytes <= most_bytes
    }

    fn push(&mut self, item: Item, urgent: bool) {
        pack::push(&item.record, &mut self.payload);
        self.urgent |= urgent;
        self.items.push(item);
    }

    fn close(self) -> Parcel {
        let Self { subject, payload, items, key, urgent } = self;
        Parcel { subject, payload: payload.into(), items, key, urgent }
    }
}

impl Parcel {
    /// The calls that wait for its messages.
    pub(crate) fn calls(&self) -> impl Iterator<Item = &Call> {
        self.items.iter().filter_map(|item| match &item.content {
            Content::Message { call, .. } => call.as_ref(),
            Content::Activity => None,
        })
    }
}

fn describe(item: &Item) -> (Option<&DataType>, Option<IdempotencyKey>, bool) {
    match &item.content {
        Content::Message { data_type, key, ack, .. } => {
            (Some(data_type), key.map(|(key, _)| key), *ack == Ack::Delivered)
        }
        Content::Activity => (None, None, false),
    }
}

#[cfg(test)]
mod tests {
    use poa_core::DataTypes;
    use poa_core::engine::Fingerprint;

    use super::*;

    fn item(agent: &str, data_type: &str, key: Option<u8>) -> Item {
        let types = DataTypes::new(["x", "y"]).unwrap();
        let key =
            key.map(|byte| (IdempotencyKey::from_bytes([byte; 16]), Fingerprint::of("", b"")));
        let data_type = types.get(data_type).unwrap().clone();
        Item {
            agent: AgentId::new(agent.to_owned()).unwrap(),
            content: Content::Message { data_type, key, ack: Ack::Stored, call: None },
            record: Bytes::copy_from_slice(agent.as_bytes()),
        }
    }

    fn subjects(items: Vec<Item>) -> Vec<(String, usize)> {
        let parcels = parcels(items, &Names::new("poa", 16), 0, 1 << 20);
        parcels.into_iter().map(|parcel| (parcel.subject, parcel.items.len())).collect()
    }

    #[test]
    fn records_share_a_publish_but_no_agent_is_reordered() {
        let interleaved = vec![
            item("a", "x", None),
            item("b", "y", None),
            item("c", "x", None),
            item("b", "x", None),
        ];
        let (x, y) = ("poa.p.0.m.x".to_owned(), "poa.p.0.m.y".to_owned());
        assert_eq!(subjects(interleaved), [(x.clone(), 2), (y.clone(), 1), (x, 1)]);
        assert_eq!(subjects(vec![item("b", "y", None), item("b", "y", None)]), [(y, 2)]);
    }

    #[test]
    fn a_keyed_message_is_a_publish_of_its_own() {
        let items = vec![item("a", "x", None), item("a", "x", Some(1)), item("a", "x", None)];
        let x = "poa.p.0.m.x".to_owned();
        assert_eq!(subjects(items), [(x.clone(), 1), (x.clone(), 1), (x, 1)]);
    }

    #[test]
    fn a_publish_has_a_bound() {
        let items = (0..10).map(|_| item("a", "x", None)).collect();
        let parcels = parcels(items, &Names::new("poa", 16), 0, 3 * (1 + pack::OVERHEAD));
        let sizes: Vec<_> = parcels.iter().map(|parcel| parcel.items.len()).collect();
        assert_eq!(sizes, [3, 3, 3, 1]);
    }
}
