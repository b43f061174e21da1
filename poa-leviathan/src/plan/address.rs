//! Addresses, routes and trunks: which go, which come.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::Task;
use super::check::is_up;
use super::wiring::{Wiring, our_bridge, wants_bridge};
use crate::model::ContainerAddress;
use crate::name::{Purpose, trunk_names};
use crate::number::{CIN_PREFIX, bridge_address};
use crate::operation::{Addressing, Operation, Trunk};
use crate::seen::{Inside, Seen};
use crate::{CenId, CinId, ContainerId, Model};

/// The operations on addresses.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    pub(super) gone: Vec<Operation>,
    pub(super) made: Vec<Operation>,
}

impl Addresses {
    pub(super) fn plan(task: &Task<'_>, seen: &Seen, handled: &[CenId], wiring: &Wiring) -> Self {
        let cins = task.scope.all_cins(task.model);
        let planner = Planner { task, seen, handled, wiring, wanted: wanted(task.model, &cins) };
        let mut addresses = Self::default();
        for cen in handled {
            planner.bridge_addresses_gone(cen, &mut addresses.gone);
        }
        planner.trunks_gone(&mut addresses.gone);
        let containers = task.scope.containers(&[task.before, task.model]);
        for container in &containers {
            planner.addresses_gone(container, &mut addresses.gone);
        }
        for cin in cins.iter().filter(|cin| is_on_host(task.model, cin)) {
            planner.gateway(cin, &mut addresses.made);
            planner.trunks(cin, &mut addresses.made);
        }
        for cin in cins.iter().filter(|cin| is_on_host(task.model, cin)) {
            planner.containers(cin, &mut addresses.made);
        }
        let routes = planner.default_routes(&containers, &addresses.made);
        addresses.made.extend(routes);
        addresses
    }
}

fn is_on_host(model: &Model, cin: &CinId) -> bool {
    model.cins().get(cin).is_some_and(|cin| cin.status().is_up())
}

/// The addresses that these CINs are to have on the host, by container and CEN.
fn wanted(model: &Model, cins: &[CinId]) -> BTreeMap<(ContainerId, CenId), Ipv4Addr> {
    let on_host = cins.iter().filter(|cin| is_on_host(model, cin));
    let addresses = on_host.flat_map(|cin| model.addresses(cin));
    let up = addresses.filter(|address| is_up(model, &address.cen));
    up.map(|address| ((address.container, address.cen), address.ip)).collect()
}

struct Planner<'t> {
    task: &'t Task<'t>,
    seen: &'t Seen,
    handled: &'t [CenId],
    wiring: &'t Wiring,
    wanted: BTreeMap<(ContainerId, CenId), Ipv4Addr>,
}

impl Planner<'_> {
    /// The second octet of the address that the bridge of a CEN is to have.
    fn wanted_gateway(&self, cen: &CenId) -> Option<u8> {
        let model = self.task.model;
        let cin = model.cin_over(cen).filter(|cin| is_on_host(model, cin))?;
        let gateway = model.gateway(cin, cen)?;
        wants_bridge(model, cen).then(|| gateway.octets()[1])
    }

    fn bridge_addresses_gone(&self, cen: &CenId, gone: &mut Vec<Operation>) {
        let Some(bridge) = our_bridge(self.seen, cen).filter(|_| self.wiring.keeps_bridge(cen))
        else {
            return;
        };
        let wanted = self.wanted_gateway(cen);
        for (ip, prefix) in &bridge.addresses {
            let b = ip.octets()[1];
            if *ip == bridge_address(b) && *prefix == CIN_PREFIX && wanted != Some(b) {
                gone.push(Operation::BridgeAddressDown(cen.clone(), b));
            }
        }
    }

    fn gateway(&self, cin: &CinId, made: &mut Vec<Operation>) {
        let Some(first) = self.task.model.cins()[cin].cens().first() else { return };
        let Some(b) = self.wanted_gateway(first).filter(|_| self.handled.contains(first)) else {
            return;
        };
        let present = our_bridge(self.seen, first)
            .is_some_and(|bridge| bridge.addresses.contains(&(bridge_address(b), CIN_PREFIX)));
        if !present {
            made.push(Operation::BridgeAddress(first.clone(), b));
        }
    }

    /// The trunks of a CIN whose both bridges are to be there.
    fn wanted_trunks(&self, cin: &CinId) -> Vec<Trunk> {
        let model = self.task.model;
        let Some(known) = model.cins().get(cin).filter(|_| is_on_host(model, cin)) else {
            return Vec::new();
        };
        let Some((first, further)) = known.cens().split_first() else { return Vec::new() };
        let joined =
            further.iter().filter(|cen| wants_bridge(model, cen) && wants_bridge(model, first));
        let trunk =
            |cen: &CenId| Trunk { cin: cin.clone(), first: first.clone(), cen: cen.clone() };
        joined.map(trunk).collect()
    }

    fn trunks_gone(&self, gone: &mut Vec<Operation>) {
        let mut lost = BTreeSet::new();
        for link in self.seen.host.values() {
            let Some(Purpose::Trunk(cin, cen)) = link.purpose() else { continue };
            let ours = self.handled.contains(cen) || self.task.scope.cins.contains(cin);
            let wanted = self.wanted_trunks(cin);
            if ours && !wanted.iter().any(|trunk| trunk.cen == *cen) {
                let cins = self.task.before.cins().get(cin).or(self.task.model.cins().get(cin));
                let first = cins.and_then(|cin| cin.cens().first()).unwrap_or(cen).clone();
                lost.insert(Trunk { cin: cin.clone(), first, cen: cen.clone() });
            }
        }
        gone.extend(lost.into_iter().map(Operation::TrunkDown));
    }

    fn trunks(&self, cin: &CinId, made: &mut Vec<Operation>) {
        let trunks = self.wanted_trunks(cin).into_iter();
        let lacking = trunks.filter(|trunk| {
            let handled = self.handled.contains(&trunk.cen) && self.handled.contains(&trunk.first);
            handled && !self.is_joined(trunk)
        });
        made.extend(lacking.map(Operation::TrunkUp));
    }

    fn is_joined(&self, trunk: &Trunk) -> bool {
        let [a, b] = trunk_names(self.task.host, &trunk.cin, &trunk.cen);
        let attached = |name: &str, cen: &CenId| {
            let bridge = our_bridge(self.seen, cen).map(|bridge| bridge.index);
            let keeps = bridge.is_some() && self.wiring.keeps_bridge(cen);
            let link = self.seen.host.get(name);
            keeps && link.is_some_and(|link| link.up && link.marked && link.master == bridge)
        };
        attached(&a, &trunk.first) && attached(&b, &trunk.cen)
    }

    /// The addresses that the interfaces of a container in the CENs at hand have and should not.
    fn addresses_gone(&self, container: &ContainerId, gone: &mut Vec<Operation>) {
        let Some(inside) = self.seen.inside.get(container) else { return };
        for cen in self.handled {
            let Some(link) = our_link(inside, container, cen) else { continue };
            if self.wiring.removes(container, cen) {
                continue;
            }
            let wanted = self.wanted.get(&(container.clone(), cen.clone())).copied();
            let stale = link
                .addresses
                .iter()
                .filter(|(ip, prefix)| *prefix == 0 && ip.octets()[0] == 10 && Some(*ip) != wanted);
            gone.extend(stale.map(|(ip, _)| {
                Operation::ContainerAddressDown(self.addressing(container, cen, *ip))
            }));
        }
    }

    fn addressing(&self, container: &ContainerId, cen: &CenId, ip: Ipv4Addr) -> Addressing {
        let owns_default = self.default_owner(container).as_ref() == Some(cen);
        let (container, cen, ip_b) = (container.clone(), cen.clone(), ip.octets()[1]);
        Addressing { container, cen, ip, ip_b, owns_default }
    }

    fn containers(&self, cin: &CinId, made: &mut Vec<Operation>) {
        for address in self.task.model.addresses(cin) {
            let (container, cen) = (&address.container, &address.cen);
            let present = self.seen.inside.contains_key(container);
            if present
                && is_up(self.task.model, cen)
                && self.handled.contains(cen)
                && !self.has(&address)
            {
                let mut addressing = self.addressing(container, cen, address.ip);
                addressing.owns_default &= !self.has_foreign_default(container);
                made.push(Operation::ContainerAddress(addressing));
            }
        }
    }

    /// Whether a container has an address and the route that goes with it, and keeps the interface.
    fn has(&self, address: &ContainerAddress) -> bool {
        let Some(inside) = self.seen.inside.get(&address.container) else { return false };
        let Some(link) = our_link(inside, &address.container, &address.cen) else { return false };
        let network = (Ipv4Addr::new(10, address.ip.octets()[1], 0, 0), CIN_PREFIX);
        let routed = inside.routes.iter().any(|route| {
            route.destination == Some(network) && route.device == address.cen.as_str()
        });
        let kept = !self.wiring.removes(&address.container, &address.cen);
        kept && routed && link.addresses.contains(&(address.ip, 0))
    }

    fn default_owner(&self, container: &ContainerId) -> Option<CenId> {
        let model = self.task.model;
        model.default_owner(container, |cin| is_on_host(model, cin))
    }

    /// A default route that is not through an interface of ours is left alone.
    fn has_foreign_default(&self, container: &ContainerId) -> bool {
        let Some(inside) = self.seen.inside.get(container) else { return false };
        let defaults = inside.routes.iter().filter(|route| route.destination.is_none());
        let links = defaults.map(|route| inside.links.get(&route.device));
        links.into_iter().any(|link| link.is_none_or(|link| link.purpose().is_none()))
    }

    /// Moves the default routes of containers where no address that comes takes them along.
    fn default_routes(&self, containers: &[ContainerId], made: &[Operation]) -> Vec<Operation> {
        let come: BTreeSet<(&ContainerId, &CenId)> = made
            .iter()
            .filter_map(|operation| match operation {
                Operation::ContainerAddress(a) => Some((&a.container, &a.cen)),
                _ => None,
            })
            .collect();
        let moved = containers.iter().filter_map(|container| {
            let owner = self.lacks_default(container)?;
            let comes = come.contains(&(container, &owner));
            (!comes).then(|| Operation::DefaultRoute(container.clone(), owner))
        });
        moved.collect()
    }

    /// The CEN that the default route of a container is to go through and does not, although the interface is there.
    fn lacks_default(&self, container: &ContainerId) -> Option<CenId> {
        let inside = self.seen.inside.get(container)?;
        let owner = self.default_owner(container)?;
        let is_there = our_link(inside, container, &owner).is_some()
            && !self.wiring.removes(container, &owner);
        let mut defaults = inside.routes.iter().filter(|route| route.destination.is_none());
        let has_it = defaults.any(|route| route.device == owner.as_str());
        let lacks = is_there && !has_it && !self.has_foreign_default(container);
        lacks.then_some(owner)
    }
}

fn our_link<'s>(
    inside: &'s Inside,
    container: &ContainerId,
    cen: &CenId,
) -> Option<&'s crate::seen::Link> {
    let link = inside.links.get(cen.as_str())?;
    match link.purpose()? {
        Purpose::Wire(of, owner, _) if of == cen && owner == container => Some(link),
        _ => None,
    }
}
