//! The observed state of the host and its containers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use crate::name::{End, Mac, Purpose, trunk_names};
use crate::wire::{Side, wires_of};
use crate::{ContainerId, Error, Model};

/// The owner of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Ours, for this purpose.
    Ours(Purpose),
    /// Ours by its mark, made by a process that died before it set the alias.
    Unfinished(Mac),
    /// Not ours. It is never touched.
    Foreign,
}

/// The kind of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum LinkKind {
    Bridge,
    Veth,
    Other,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index in its namespace.
    pub index: u32,
    /// Its owner.
    pub owner: Owner,
    /// Its kind.
    pub kind: LinkKind,
    /// Whether it is administratively up.
    pub up: bool,
    /// The index of the bridge it is a port of.
    pub master: Option<u32>,
    /// The index of the other end of a pair, in the namespace of that.
    pub peer: Option<u32>,
    /// Whether it has its alias already.
    pub marked: bool,
    /// Its IPv4 addresses and prefix lengths.
    pub addresses: Vec<(Ipv4Addr, u8)>,
}

impl Link {
    /// Its purpose, if it is ours.
    #[must_use]
    pub fn purpose(&self) -> Option<&Purpose> {
        match &self.owner {
            Owner::Ours(purpose) => Some(purpose),
            _ => None,
        }
    }
}

/// An IPv4 route of the main table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its destination; `None` for the default route.
    pub destination: Option<(Ipv4Addr, u8)>,
    /// The name of its interface.
    pub device: String,
}

/// The inside of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inside {
    /// Its interfaces by name.
    pub links: BTreeMap<String, Link>,
    /// Its routes.
    pub routes: Vec<Route>,
}

/// A look at a host and into some containers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The interfaces of the host by name.
    pub host: BTreeMap<String, Link>,
    /// The inside of each container that was found.
    pub inside: BTreeMap<ContainerId, Inside>,
    /// The containers that were not found, and why.
    pub missing: BTreeMap<ContainerId, Error>,
    /// Second octets of networks `10.B.0.0/16` in which the host has an address or a route that is not ours.
    pub taken: BTreeSet<u8>,
}

impl Seen {
    /// Recognises interfaces that are ours by their mark alone, as those of the purposes that the models know.
    pub(crate) fn claim(&mut self, host: &str, models: &[&Model]) {
        let inside = self.inside.values_mut().flat_map(|inside| inside.links.values_mut());
        let links = self.host.values_mut().chain(inside);
        let unfinished: Vec<&mut Link> =
            links.filter(|link| matches!(link.owner, Owner::Unfinished(_))).collect();
        if unfinished.is_empty() {
            return;
        }
        let known = purposes(host, models);
        for link in unfinished {
            if let Owner::Unfinished(mac) = link.owner
                && let Some(purpose) = known.get(&mac.0)
            {
                link.owner = Owner::Ours(purpose.clone());
            }
        }
    }
}

/// Every purpose in the models, by the hardware addresses of its interfaces.
fn purposes(host: &str, models: &[&Model]) -> BTreeMap<[u8; 6], Purpose> {
    let mut known = BTreeMap::new();
    let mut add = |purpose: Purpose, end| {
        known.insert(Mac::of(host, &purpose, end).0, purpose);
    };
    for model in models {
        for cen in model.cens().keys() {
            add(Purpose::Bridge(cen.clone()), End::Out);
            for end in wires_of(model, cen).iter().flat_map(|wire| wire.ends()) {
                let side = if end.side() == Side::In { End::In } else { End::Out };
                let container = end.container().clone();
                add(Purpose::Wire(cen.clone(), container, end.number()), side);
            }
        }
        for (id, cin) in model.cins() {
            for cen in cin.cens().iter().skip(1) {
                add(Purpose::Trunk(id.clone(), cen.clone()), End::In);
                add(Purpose::Trunk(id.clone(), cen.clone()), End::Out);
            }
        }
    }
    known
}

/// Whether an interface of the host is an end of this trunk, both by name and by purpose.
pub(crate) fn is_trunk(host: &str, name: &str, link: &Link) -> bool {
    match link.purpose() {
        Some(Purpose::Trunk(cin, cen)) => trunk_names(host, cin, cen).iter().any(|n| n == name),
        _ => false,
    }
}
