//! An executor that changes nothing: it keeps a host in memory, and a record of what was done to it.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{Executor, Session};
use crate::name::{Purpose, out_name, trunk_names};
use crate::number::{CIN_PREFIX, bridge_address};
use crate::operation::{Addressing, Operation, Trunk};
use crate::seen::{Inside, Link, LinkKind, Owner, Route, Seen};
use crate::wire::{EndId, Side, Wire};
use crate::{CenId, Code, ContainerId, Error};

/// The most operations that are remembered; older ones are forgotten.
const REMEMBERED: usize = 100_000;

/// A host in memory. Every container exists, unless it was [removed](Self::remove_container).
#[derive(Clone, Debug)]
pub struct Recorder(Arc<Mutex<Host>>);

#[derive(Debug)]
struct Host {
    id: String,
    seen: Seen,
    absent: BTreeSet<ContainerId>,
    next_index: u32,
    record: Vec<Operation>,
}

impl Recorder {
    /// An empty host with this id.
    #[must_use]
    pub fn new(host: &str) -> Self {
        Self(Arc::new(Mutex::new(Host {
            id: host.to_owned(),
            seen: Seen::default(),
            absent: BTreeSet::new(),
            next_index: 1,
            record: Vec::new(),
        })))
    }

    /// Takes the operations recorded so far.
    #[allow(clippy::must_use_candidate, reason = "taken to begin a new record as well")]
    pub fn take(&self) -> Vec<Operation> {
        std::mem::take(&mut self.0.lock().record)
    }

    /// The host as it is.
    #[must_use]
    pub fn host(&self) -> Seen {
        self.0.lock().seen.clone()
    }

    /// Adds an interface that is not ours.
    pub fn add_foreign(&self, name: &str) {
        let mut host = self.0.lock();
        let link = host.link(Owner::Foreign, LinkKind::Other);
        host.seen.host.insert(name.to_owned(), link);
    }

    /// Deletes an interface of the host and what hangs on it, as a person at the console would.
    pub fn delete(&self, name: &str) {
        self.0.lock().delete(name);
    }

    /// Stops a container: its namespace goes, and all pairs with an end in it.
    pub fn remove_container(&self, id: &ContainerId) {
        let mut host = self.0.lock();
        host.absent.insert(id.clone());
        let inside = host.seen.inside.remove(id).unwrap_or_default();
        for link in inside.links.values() {
            host.delete_peer_of(link);
        }
    }

    /// Starts a container again, with an empty namespace.
    pub fn restore_container(&self, id: &ContainerId) {
        self.0.lock().absent.remove(id);
    }

    /// Has the next look find a network of others.
    pub fn take_network(&self, ip_b: u8) {
        self.0.lock().seen.taken.insert(ip_b);
    }
}

#[async_trait]
impl Executor for Recorder {
    async fn look(&self, containers: &[ContainerId]) -> Result<Box<dyn Session>, Error> {
        let mut host = self.0.lock();
        for id in containers {
            if !host.absent.contains(id) {
                host.seen.inside.entry(id.clone()).or_default();
            }
        }
        let mut seen = host.seen.clone();
        seen.inside.retain(|id, _| containers.contains(id));
        for id in containers.iter().filter(|id| host.absent.contains(*id)) {
            seen.missing.insert(id.clone(), gone(id));
        }
        Ok(Box::new(Recording { host: self.0.clone(), seen }))
    }
}

fn gone(id: &ContainerId) -> Error {
    Error::new(Code::UnknownContainer, format!("container not found: {id}")).with_details([id])
}

struct Recording {
    host: Arc<Mutex<Host>>,
    seen: Seen,
}

#[async_trait]
impl Session for Recording {
    fn seen(&self) -> &Seen {
        &self.seen
    }

    async fn apply(&mut self, operation: &Operation) -> Result<(), Error> {
        let mut host = self.host.lock();
        host.apply(operation)?;
        if host.record.len() == REMEMBERED {
            host.record.clear();
        }
        host.record.push(operation.clone());
        Ok(())
    }
}

impl Host {
    fn link(&mut self, owner: Owner, kind: LinkKind) -> Link {
        self.next_index += 1;
        let index = self.next_index;
        let (master, peer, addresses) = (None, None, Vec::new());
        Link { index, owner, kind, up: true, master, peer, marked: true, addresses }
    }

    fn apply(&mut self, operation: &Operation) -> Result<(), Error> {
        match operation {
            Operation::BridgeUp(cen) => self.bridge_up(cen),
            Operation::BridgeDown(cen) => self.delete(cen.as_str()),
            Operation::NetnsLink(_) => {}
            Operation::WireUp(wire) => return self.wire_up(wire),
            Operation::WireFix(wire) => self.wire_fix(wire),
            Operation::WireDown(wire) => self.wire_down(wire),
            Operation::BridgeAddress(cen, b) => self.bridge_address(cen, *b)?,
            Operation::BridgeAddressDown(cen, b) => {
                if let Some(bridge) = self.seen.host.get_mut(cen.as_str()) {
                    bridge.addresses.retain(|(ip, _)| *ip != bridge_address(*b));
                }
            }
            Operation::TrunkUp(trunk) => return self.trunk_up(trunk),
            Operation::TrunkDown(trunk) => {
                let [a, _] = trunk_names(&self.id, &trunk.cin, &trunk.cen);
                self.delete(&a);
            }
            Operation::ContainerAddress(addressing) => return self.address(addressing),
            Operation::ContainerAddressDown(addressing) => self.address_down(addressing),
            Operation::DefaultRoute(container, cen) => self.default_route(container, cen),
            Operation::Stray(None, name) => self.delete(name),
            Operation::Stray(Some(container), name) => self.delete_inside(container, name),
        }
        Ok(())
    }

    fn bridge_up(&mut self, cen: &CenId) {
        if !self.seen.host.contains_key(cen.as_str()) {
            let bridge = self.link(Owner::Ours(Purpose::Bridge(cen.clone())), LinkKind::Bridge);
            self.seen.host.insert(cen.to_string(), bridge);
        }
    }

    fn bridge_index(&self, cen: &CenId) -> Result<u32, Error> {
        let bridge = self.seen.host.get(cen.as_str());
        bridge.map(|b| b.index).ok_or_else(|| Error::internal(format!("bridge {cen} is not there")))
    }

    fn wire_up(&mut self, wire: &Wire) -> Result<(), Error> {
        let master = if wire.is_bus() { Some(self.bridge_index(wire.cen())?) } else { None };
        let [mut a, mut b] = [0, 1].map(|at| {
            let end = &wire.ends()[at];
            let of = (wire.cen().clone(), end.container().clone(), end.number());
            self.link(Owner::Ours(Purpose::Wire(of.0, of.1, of.2)), LinkKind::Veth)
        });
        (a.peer, b.peer, b.master) = (Some(b.index), Some(a.index), master);
        for (end, link) in wire.ends().iter().zip([a, b]) {
            self.place(wire, end, link)?;
        }
        Ok(())
    }

    fn place(&mut self, wire: &Wire, end: &EndId, link: Link) -> Result<(), Error> {
        let (links, name) = match end.side() {
            Side::In => {
                let inside = self.seen.inside.get_mut(end.container());
                let inside = inside.ok_or_else(|| gone(end.container()))?;
                (&mut inside.links, wire.cen().to_string())
            }
            Side::Out => {
                let name = out_name(&self.id, end.container(), end.number());
                (&mut self.seen.host, name)
            }
        };
        if links.contains_key(&name) {
            return Err(Error::internal(format!("interface {name} exists")));
        }
        links.insert(name, link);
        Ok(())
    }

    fn wire_fix(&mut self, wire: &Wire) {
        let master = self.bridge_index(wire.cen()).ok();
        for end in wire.ends() {
            if end.side() == Side::Out {
                let name = out_name(&self.id, end.container(), end.number());
                if let Some(link) = self.seen.host.get_mut(&name) {
                    link.master = master;
                }
            }
        }
    }

    fn wire_down(&mut self, wire: &Wire) {
        for end in wire.ends() {
            match end.side() {
                Side::In => self.delete_inside(end.container(), wire.cen().as_str()),
                Side::Out => {
                    let name = out_name(&self.id, end.container(), end.number());
                    self.delete(&name);
                }
            }
        }
    }

    fn bridge_address(&mut self, cen: &CenId, b: u8) -> Result<(), Error> {
        self.bridge_index(cen)?;
        if let Some(bridge) = self.seen.host.get_mut(cen.as_str()) {
            add(&mut bridge.addresses, (bridge_address(b), CIN_PREFIX));
        }
        Ok(())
    }

    fn trunk_up(&mut self, trunk: &Trunk) -> Result<(), Error> {
        let names = trunk_names(&self.id, &trunk.cin, &trunk.cen);
        let masters = [self.bridge_index(&trunk.first)?, self.bridge_index(&trunk.cen)?];
        self.delete(&names[0]);
        let owner = Owner::Ours(Purpose::Trunk(trunk.cin.clone(), trunk.cen.clone()));
        let mut ends = [0, 1].map(|_| self.link(owner.clone(), LinkKind::Veth));
        (ends[0].peer, ends[1].peer) = (Some(ends[1].index), Some(ends[0].index));
        for ((name, mut link), master) in names.into_iter().zip(ends).zip(masters) {
            link.master = Some(master);
            self.seen.host.insert(name, link);
        }
        Ok(())
    }

    fn address(&mut self, a: &Addressing) -> Result<(), Error> {
        let inside = self.seen.inside.get_mut(&a.container).ok_or_else(|| gone(&a.container))?;
        let Some(link) = inside.links.get_mut(a.cen.as_str()) else {
            let why = format!("container {} has no interface {}", a.container, a.cen);
            return Err(Error::internal(why));
        };
        add(&mut link.addresses, (a.ip, 0));
        let network = Some((Ipv4Addr::new(10, a.ip_b, 0, 0), CIN_PREFIX));
        add(&mut inside.routes, Route { destination: network, device: a.cen.to_string() });
        if a.owns_default {
            self.default_route(&a.container, &a.cen);
        }
        Ok(())
    }

    fn address_down(&mut self, a: &Addressing) {
        let Some(inside) = self.seen.inside.get_mut(&a.container) else { return };
        inside.routes.retain(|route| route.device != a.cen.as_str());
        if let Some(link) = inside.links.get_mut(a.cen.as_str()) {
            link.addresses.retain(|(ip, _)| *ip != a.ip);
        }
    }

    fn default_route(&mut self, container: &ContainerId, cen: &CenId) {
        if let Some(inside) = self.seen.inside.get_mut(container) {
            inside.routes.retain(|route| route.destination.is_some());
            inside.routes.push(Route { destination: None, device: cen.to_string() });
        }
    }

    fn delete(&mut self, name: &str) {
        let Some(link) = self.seen.host.remove(name) else { return };
        for port in self.seen.host.values_mut().filter(|port| port.master == Some(link.index)) {
            port.master = None;
        }
        self.delete_peer_of(&link);
    }

    fn delete_inside(&mut self, container: &ContainerId, name: &str) {
        let Some(inside) = self.seen.inside.get_mut(container) else { return };
        let Some(link) = inside.links.remove(name) else { return };
        inside.routes.retain(|route| route.device != name);
        self.delete_peer_of(&link);
    }

    /// Indices are unique over the whole host in memory.
    fn delete_peer_of(&mut self, link: &Link) {
        let Some(peer) = link.peer else { return };
        self.seen.host.retain(|_, other| other.index != peer);
        for inside in self.seen.inside.values_mut() {
            let lost = inside.links.iter().find(|(_, other)| other.index == peer);
            if let Some(name) = lost.map(|(name, _)| name.clone()) {
                inside.links.remove(&name);
                inside.routes.retain(|route| route.device != name);
            }
        }
    }
}

fn add<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

/// The inside of a container that was never looked into is empty.
impl Recorder {
    /// The inside of a container.
    #[must_use]
    pub fn inside(&self, id: &ContainerId) -> Inside {
        self.0.lock().seen.inside.get(id).cloned().unwrap_or_default()
    }
}
