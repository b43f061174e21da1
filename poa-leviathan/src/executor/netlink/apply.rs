//! Operations as requests to the kernel.

use std::io;
use std::net::Ipv4Addr;

use netlink_packet_route::RouteNetlinkMessage as Message;

use super::look::{link, named_link};
use super::message::{self, NewEnd};
use super::socket::{EADDRNOTAVAIL, EEXIST, ENODEV, EPERM, ERANGE, ESRCH, Exists, Rtnl, allow};
use super::{Kernel, Space};
use crate::name::{End, Mac, Purpose, out_name, trunk_names};
use crate::number::{CIN_PREFIX, bridge_address};
use crate::operation::{Addressing, Operation, Trunk};
use crate::seen::{Link, Owner};
use crate::wire::{EndId, Wire};
use crate::{CenId, Code, ContainerId, Error};

impl Kernel {
    pub(super) fn apply(&mut self, operation: &Operation) -> Result<(), Error> {
        let done = match operation {
            Operation::BridgeUp(cen) => self.bridge_up(cen),
            Operation::BridgeDown(cen) => delete(&mut self.host, cen.as_str()),
            Operation::NetnsLink(_) => Ok(()),
            Operation::WireUp(wire) if wire.is_bus() => self.bus_up(wire),
            Operation::WireUp(wire) => self.direct_up(wire),
            Operation::WireFix(wire) => self.wire_fix(wire),
            Operation::WireDown(wire) => self.wire_down(wire),
            Operation::BridgeAddress(cen, b) => self.bridge_address(cen, *b),
            Operation::BridgeAddressDown(cen, b) => self.bridge_address_down(cen, *b),
            Operation::TrunkUp(trunk) => self.trunk_up(trunk),
            Operation::TrunkDown(trunk) => self.trunk_down(trunk),
            Operation::ContainerAddress(addressing) => self.address(addressing),
            Operation::ContainerAddressDown(addressing) => self.address_down(addressing),
            Operation::DefaultRoute(container, cen) => self.default_route(container, cen),
            Operation::Stray(None, name) => delete(&mut self.host, name),
            Operation::Stray(Some(container), name) => self
                .space(container)
                .map_err(Failure::Ours)
                .and_then(|space| delete(&mut space.rtnl, name)),
        };
        done.map_err(|failure| failure.explain(operation))
    }

    fn bridge_up(&mut self, cen: &CenId) -> Done {
        let purpose = Purpose::Bridge(cen.clone());
        if ours(&mut self.host, cen.as_str())?.is_none() {
            let mac = Mac::of(&self.id, &purpose, End::Out);
            let made = self.host.create(message::new_bridge(cen.as_str(), mac))?;
            note_made(&mut self.host, cen.as_str(), made);
        }
        let index = index(&mut self.host, cen.as_str())?;
        self.host.change(message::set_outer(index, &purpose, None), Exists::Change)?;
        Ok(self.host.change(message::set_up(index), Exists::Change)?)
    }

    fn bus_up(&mut self, wire: &Wire) -> Done {
        let (purpose, out) = (purpose(wire, 1), self.out(wire, 1));
        let bridge = index(&mut self.host, wire.cen().as_str())?;
        let [inner, outer] = [End::In, End::Out].map(|end| Mac::of(&self.id, &purpose, end));
        let container = wire.ends()[0].container();
        let namespace = &self.inside.get(container).ok_or_else(|| absent(container))?.namespace;
        let peer = NewEnd {
            name: wire.cen().as_str(),
            mac: inner,
            namespace: Some(namespace),
            master: None,
        };
        let end = NewEnd { name: &out, mac: outer, namespace: None, master: Some(bridge) };
        let made = self.host.create(message::new_pair(&end, &peer))?;
        let peer = note_made(&mut self.host, &out, made);
        note_peer(&mut self.space(container)?.rtnl, wire.cen(), peer);
        self.finish_outer(&out, &purpose, None)?;
        self.finish_inner(wire, 0)
    }

    fn direct_up(&mut self, wire: &Wire) -> Done {
        let name = wire.cen().as_str();
        let macs = [0, 1].map(|at| Mac::of(&self.id, &purpose(wire, at), End::In));
        let [first, last] = [0, 1].map(|at| wire.ends()[at].container());
        let new = |mac, namespace| NewEnd { name, mac, namespace, master: None };
        let namespace = &self.inside.get(last).ok_or_else(|| absent(last))?.namespace;
        // Both are told the namespace, so that the host has neither end at any moment.
        let here = &self.inside.get(first).ok_or_else(|| absent(first))?.namespace;
        let pair = message::new_pair(&new(macs[0], Some(here)), &new(macs[1], Some(namespace)));
        let rtnl = &mut self.space(first)?.rtnl;
        let made = rtnl.create(pair)?;
        let peer = note_made(rtnl, name, made);
        note_peer(&mut self.space(last)?.rtnl, wire.cen(), peer);
        self.finish_inner(wire, 0)?;
        self.finish_inner(wire, 1)
    }

    fn wire_fix(&mut self, wire: &Wire) -> Done {
        if wire.is_bus() {
            let bridge = index(&mut self.host, wire.cen().as_str())?;
            self.finish_outer(&self.out(wire, 1), &purpose(wire, 1), Some(bridge))?;
            return self.finish_inner(wire, 0);
        }
        self.finish_inner(wire, 0)?;
        self.finish_inner(wire, 1)
    }

    fn finish_outer(&mut self, out: &str, purpose: &Purpose, master: Option<u32>) -> Done {
        let index = index(&mut self.host, out)?;
        self.host.change(message::set_outer(index, purpose, master), Exists::Change)?;
        Ok(self.host.change(message::set_up(index), Exists::Change)?)
    }

    fn finish_inner(&mut self, wire: &Wire, at: usize) -> Done {
        let rtnl = &mut self.space(wire.ends()[at].container())?.rtnl;
        let index = index(rtnl, wire.cen().as_str())?;
        Ok(rtnl.change(message::set_inner(index, &purpose(wire, at)), Exists::Change)?)
    }

    /// With one end, the other goes. What is left of a pair may be any of them; a container may be gone with its end.
    fn wire_down(&mut self, wire: &Wire) -> Done {
        if wire.is_bus() {
            let out = self.out(wire, 1);
            delete(&mut self.host, &out)?;
        }
        for container in wire.containers() {
            if let Some(Space { rtnl, .. }) = self.inside.get_mut(container) {
                delete(rtnl, wire.cen().as_str())?;
            }
        }
        Ok(())
    }

    fn bridge_address(&mut self, cen: &CenId, b: u8) -> Done {
        let index = index(&mut self.host, cen.as_str())?;
        let address = message::address(index, bridge_address(b), CIN_PREFIX);
        let added = self.host.change(Message::NewAddress(address), Exists::Fail);
        Ok(allow(added, &[EEXIST])?)
    }

    fn bridge_address_down(&mut self, cen: &CenId, b: u8) -> Done {
        let Some(bridge) = ours(&mut self.host, cen.as_str())? else { return Ok(()) };
        let address = message::address(bridge.index, bridge_address(b), CIN_PREFIX);
        let removed = self.host.change(Message::DelAddress(address), Exists::Change);
        Ok(allow(removed, &[EADDRNOTAVAIL, ENODEV])?)
    }

    fn trunk_up(&mut self, trunk: &Trunk) -> Done {
        let names = trunk_names(&self.id, &trunk.cin, &trunk.cen);
        let purpose = Purpose::Trunk(trunk.cin.clone(), trunk.cen.clone());
        if ours(&mut self.host, &names[0])?.is_none() {
            let [first, last] = [End::In, End::Out].map(|end| Mac::of(&self.id, &purpose, end));
            let new = |name, mac| NewEnd { name, mac, namespace: None, master: None };
            let pair = message::new_pair(&new(&names[0], first), &new(&names[1], last));
            let made = self.host.create(pair)?;
            let peer = note_made(&mut self.host, &names[0], made);
            if let Some(peer) = peer {
                self.host.learn(&names[1], peer);
            }
        }
        for (name, cen) in names.iter().zip([&trunk.first, &trunk.cen]) {
            let bridge = index(&mut self.host, cen.as_str())?;
            self.finish_outer(name, &purpose, Some(bridge))?;
        }
        Ok(())
    }

    fn trunk_down(&mut self, trunk: &Trunk) -> Done {
        for name in trunk_names(&self.id, &trunk.cin, &trunk.cen) {
            delete(&mut self.host, &name)?;
        }
        Ok(())
    }

    fn address(&mut self, a: &Addressing) -> Done {
        let rtnl = &mut self.space(&a.container)?.rtnl;
        let index = index(rtnl, a.cen.as_str())?;
        let address = Message::NewAddress(message::address(index, a.ip, 0));
        allow(rtnl.change(address, Exists::Fail), &[EEXIST])?;
        let network = Message::NewRoute(message::route(index, Some(network(a.ip_b))));
        allow(rtnl.change(network, Exists::Fail), &[EEXIST])?;
        if a.owns_default { self.default_route(&a.container, &a.cen) } else { Ok(()) }
    }

    /// Routes first: the kernel drops them with the last address of the interface.
    fn address_down(&mut self, a: &Addressing) -> Done {
        let Some(space) = self.inside.get_mut(&a.container) else { return Ok(()) };
        let Some(link) = ours(&mut space.rtnl, a.cen.as_str())? else { return Ok(()) };
        for destination in [Some(network(a.ip_b)), None] {
            let route = Message::DelRoute(message::route(link.index, destination));
            allow(space.rtnl.change(route, Exists::Change), &[ESRCH, ENODEV])?;
        }
        let address = Message::DelAddress(message::address(link.index, a.ip, 0));
        Ok(allow(space.rtnl.change(address, Exists::Change), &[EADDRNOTAVAIL, ENODEV])?)
    }

    /// Replaces a default route only if that is through an interface of ours as well.
    fn default_route(&mut self, container: &ContainerId, cen: &CenId) -> Done {
        let rtnl = &mut self.space(container)?.rtnl;
        let index = index(rtnl, cen.as_str())?;
        let route = || Message::NewRoute(message::route(index, None));
        match rtnl.change(route(), Exists::Fail) {
            Err(error) if error.raw_os_error() == Some(EEXIST) => {}
            other => return Ok(other?),
        }
        let inside = super::look::routes_and_links(rtnl)?;
        let mut defaults = inside.routes.iter().filter(|route| route.destination.is_none());
        let ours = defaults.all(|route| {
            inside
                .links
                .get(&route.device)
                .is_some_and(|link| !matches!(link.owner, Owner::Foreign))
        });
        if ours {
            rtnl.change(route(), Exists::Replace)?;
        } else {
            tracing::warn!(
                "container {container} keeps a default route that Leviathan did not set"
            );
        }
        Ok(())
    }

    fn out(&self, wire: &Wire, at: usize) -> String {
        let end: &EndId = &wire.ends()[at];
        out_name(&self.id, end.container(), end.number())
    }
}

fn network(ip_b: u8) -> (Ipv4Addr, u8) {
    (Ipv4Addr::new(10, ip_b, 0, 0), CIN_PREFIX)
}

fn purpose(wire: &Wire, at: usize) -> Purpose {
    let end = &wire.ends()[at];
    Purpose::Wire(wire.cen().clone(), end.container().clone(), end.number())
}

fn find(rtnl: &mut Rtnl, name: &str) -> io::Result<Option<Link>> {
    Ok(rtnl.get(message::get_link(name))?.and_then(named_link).map(|(_, link)| link))
}

/// Remembers the interface that was just made under this name. Returns the index of its other end.
fn note_made(rtnl: &mut Rtnl, name: &str, made: Option<Message>) -> Option<u32> {
    rtnl.forget(name);
    let Some(Message::NewLink(message)) = made else { return None };
    let (_, link) = link(&message).filter(|(made, _)| made == name)?;
    rtnl.learn(name, link.index);
    link.peer
}

/// Remembers the other end of a pair that was just made, if its index is known.
fn note_peer(rtnl: &mut Rtnl, cen: &CenId, index: Option<u32>) {
    match index {
        Some(index) => rtnl.learn(cen.as_str(), index),
        None => rtnl.forget(cen.as_str()),
    }
}

/// The index of an interface of ours, asked for once.
fn index(rtnl: &mut Rtnl, name: &str) -> Result<u32, Failure> {
    if let Some(index) = rtnl.known(name) {
        return Ok(index);
    }
    match ours(rtnl, name)? {
        Some(link) => {
            rtnl.learn(name, link.index);
            Ok(link.index)
        }
        None => Err(Failure::Ours(Error::internal(format!("interface {name} is gone")))),
    }
}

/// The interface of this name, if there is one; a failure if it is not ours.
fn ours(rtnl: &mut Rtnl, name: &str) -> Result<Option<Link>, Failure> {
    let found = find(rtnl, name)?;
    match found {
        Some(link) if link.owner == Owner::Foreign => Err(Failure::Foreign(name.to_owned())),
        found => Ok(found),
    }
}

/// Deletes an interface of ours. One that is not there or not ours is left alone: what was to go is gone.
fn delete(rtnl: &mut Rtnl, name: &str) -> Done {
    rtnl.forget(name);
    match find(rtnl, name)? {
        Some(link) if link.owner != Owner::Foreign => {
            let deleted = rtnl.change(message::delete_link(link.index), Exists::Change);
            Ok(allow(deleted, &[ENODEV])?)
        }
        _ => Ok(()),
    }
}

type Done = Result<(), Failure>;

/// Why an operation failed.
enum Failure {
    Kernel(io::Error),
    Foreign(String),
    Ours(Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Kernel(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

fn absent(container: &ContainerId) -> Error {
    crate::resolver::not_found(container, "it was not looked into")
}

impl Failure {
    fn explain(self, operation: &Operation) -> Error {
        match self {
            Self::Ours(error) => error,
            Self::Foreign(name) => {
                let why = format!("cannot {operation}: interface {name} was not made by Leviathan");
                Error::new(Code::ForeignInterface, why).with_details([name])
            }
            Self::Kernel(error) => {
                let hint = match error.raw_os_error() {
                    Some(EPERM) => "; run with CAP_NET_ADMIN and CAP_SYS_ADMIN",
                    Some(EEXIST) => "; an interface of that name appeared meanwhile",
                    Some(ENODEV) => "; an interface disappeared meanwhile",
                    Some(ERANGE) => "; a name is too long",
                    _ => "",
                };
                Error::internal(format!("cannot {operation}: {error}{hint}"))
            }
        }
    }
}
