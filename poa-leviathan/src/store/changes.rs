use std::collections::BTreeMap;

use crate::event::Event;
use crate::model::{Cen, Cin, Container, Model};
use crate::{CenId, CinId, ContainerId};

/// The differences between two models, record by record, and the events that go with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// CENs that differ; `None` is gone.
    pub cens: Vec<(CenId, Option<Cen>)>,
    /// Containers that differ; `None` is gone.
    pub containers: Vec<(ContainerId, Option<Container>)>,
    /// CINs that differ; `None` is gone.
    pub cins: Vec<(CinId, Option<Cin>)>,
    /// The counter of second octets, if it moved.
    pub next_ip_b: Option<u8>,
    /// Events to be told.
    pub events: Vec<Event>,
}

impl Changes {
    /// The changes from `old` to `new`.
    #[must_use]
    pub fn between(old: &Model, new: &Model, events: Vec<Event>) -> Self {
        Self {
            cens: differing(&old.cens, &new.cens),
            containers: differing(&old.containers, &new.containers),
            cins: differing(&old.cins, &new.cins),
            next_ip_b: (old.next_ip_b != new.next_ip_b).then_some(new.next_ip_b),
            events,
        }
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Makes the changes to a model.
    pub fn apply(&self, model: &mut Model) {
        put(&mut model.cens, &self.cens);
        put(&mut model.containers, &self.containers);
        put(&mut model.cins, &self.cins);
        if let Some(next) = self.next_ip_b {
            model.next_ip_b = next;
        }
    }
}

fn differing<K: Ord + Clone, V: PartialEq + Clone>(
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
) -> Vec<(K, Option<V>)> {
    let gone = old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), None));
    let set = new.iter().filter(|(key, value)| old.get(*key) != Some(*value));
    gone.chain(set.map(|(key, value)| (key.clone(), Some(value.clone())))).collect()
}

fn put<K: Ord + Clone, V: Clone>(map: &mut BTreeMap<K, V>, changes: &[(K, Option<V>)]) {
    for (key, value) in changes {
        match value {
            Some(value) => drop(map.insert(key.clone(), value.clone())),
            None => drop(map.remove(key)),
        }
    }
}
