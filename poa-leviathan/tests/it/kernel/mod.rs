//! Real bridges, pairs and addresses.

mod agreement;
#[cfg(feature = "docker")]
mod docker;
mod faults;
mod kills;
mod networks;
mod repair;

use std::sync::Arc;

use poa_leviathan::executor::{Executor as _, Faults, Netlink};
use poa_leviathan::model::Wiring;
use poa_leviathan::resolver::NamedNamespaces;
use poa_leviathan::seen::{Link, Seen};
use poa_leviathan::store::MemoryStore;
use poa_leviathan::{ContainerId, Leviathan, Options};

use crate::support::container;

pub(super) struct Lab {
    pub(super) netlink: Arc<Netlink>,
    pub(super) faults: Arc<Faults>,
    pub(super) leviathan: Leviathan,
}

pub(super) fn lab_with(options: Options, store: Box<dyn poa_leviathan::store::Store>) -> Lab {
    let netlink = Arc::new(Netlink::new("host1", Arc::new(NamedNamespaces::default())));
    let faults = Arc::new(Faults::around(netlink.clone()));
    let leviathan = Leviathan::open(options, faults.clone(), store).unwrap();
    Lab { netlink, faults, leviathan }
}

pub(super) fn lab(wiring: Wiring) -> Lab {
    lab_with(Options { wiring, ..Options::default() }, Box::new(MemoryStore::default()))
}

impl Lab {
    pub(super) async fn look(&self, names: &[&str]) -> Seen {
        let names: Vec<ContainerId> = names.iter().map(|name| container(name)).collect();
        self.netlink.look(&names).await.unwrap().seen().clone()
    }

    /// The state without indices.
    pub(super) async fn snapshot(&self, names: &[&str]) -> String {
        let seen = self.look(names).await;
        let master = |link: &Link| {
            let bridge = seen.host.iter().find(|(_, bridge)| Some(bridge.index) == link.master);
            bridge.map(|(name, _)| name.clone())
        };
        let mut text = String::new();
        for (name, link) in &seen.host {
            let (owner, up, addresses) = (&link.owner, link.up, &link.addresses);
            text += &format!("{name} {owner:?} up={up} in {:?} {addresses:?}\n", master(link));
        }
        for (id, inside) in &seen.inside {
            for (name, link) in &inside.links {
                text +=
                    &format!("{id}: {name} {:?} up={} {:?}\n", link.owner, link.up, link.addresses);
            }
            let mut routes: Vec<String> =
                inside.routes.iter().map(|route| format!("{route:?}")).collect();
            routes.sort();
            text += &format!("{id}: {routes:?}\n");
        }
        text
    }
}
