//! Bridges and wires: which go, which come, which are repaired.

use std::collections::BTreeSet;

use super::check::is_up;
use super::{Missing, Task};
use crate::model::WireType;
use crate::name::{Purpose, out_name};
use crate::operation::Operation;
use crate::seen::{Link, Seen};
use crate::wire::{EndId, Side, Wire, wires_of};
use crate::{CenId, ContainerId, Model};

/// The operations on bridges and wires.
#[derive(Debug, Default)]
pub(super) struct Wiring {
    pub(super) bridges_gone: Vec<Operation>,
    pub(super) bridges_made: Vec<Operation>,
    pub(super) wires_gone: Vec<Wire>,
    pub(super) wires_made: Vec<Operation>,
}

impl Wiring {
    pub(super) fn plan(task: &Task<'_>, seen: &Seen, handled: &[CenId]) -> Self {
        let mut wiring = Self::default();
        for cen in handled {
            wiring.bridge(task, seen, cen);
        }
        for cen in handled {
            wiring.wires(task, seen, cen);
        }
        wiring
    }

    /// Whether a bridge will be there as it is now.
    pub(super) fn keeps_bridge(&self, cen: &CenId) -> bool {
        !self.bridges_gone.contains(&Operation::BridgeDown(cen.clone()))
    }

    /// Whether the interface of a container in a CEN is deleted, if only to be made again.
    pub(super) fn removes(&self, container: &ContainerId, cen: &CenId) -> bool {
        self.wires_gone
            .iter()
            .any(|wire| wire.cen() == cen && wire.containers().any(|c| c == container))
    }

    fn bridge(&mut self, task: &Task<'_>, seen: &Seen, cen: &CenId) {
        let wanted = wants_bridge(task.model, cen);
        let bridge = our_bridge(seen, cen);
        match bridge {
            None if wanted => self.bridges_made.push(Operation::BridgeUp(cen.clone())),
            Some(link) if wanted && !(link.up && link.marked) => {
                self.bridges_made.push(Operation::BridgeUp(cen.clone()));
            }
            Some(_) if !wanted => self.bridges_gone.push(Operation::BridgeDown(cen.clone())),
            _ => {}
        }
    }

    fn wires(&mut self, task: &Task<'_>, seen: &Seen, cen: &CenId) {
        let wanted = wanted_wires(task, seen, cen);
        let keys: BTreeSet<_> = wanted.iter().map(Wire::key).collect();
        let mut gone: Vec<Wire> = Vec::new();
        for wire in present_wires(task.host, seen, cen) {
            if !keys.contains(&wire.key()) {
                gone.push(wire);
            }
        }
        for wire in wanted {
            match state(task.host, seen, &wire) {
                State::Absent => self.wires_made.push(Operation::WireUp(wire)),
                State::Whole => {}
                State::Loose => self.wires_made.push(Operation::WireFix(wire)),
                State::Broken => {
                    if !covers(task.host, seen, &gone, &wire) {
                        gone.push(wire.clone());
                    }
                    self.wires_made.push(Operation::WireUp(wire));
                }
            }
        }
        sort_by_membership(task.before, cen, &mut gone);
        self.wires_gone.extend(gone);
    }
}

/// Whether every end of a wire that is there goes with one of these.
fn covers(host: &str, seen: &Seen, gone: &[Wire], wire: &Wire) -> bool {
    let mut present = wire.ends().iter().filter(|end| link_of(host, seen, wire, end).is_some());
    present.all(|end| gone.iter().any(|other| other.ends().contains(end)))
}

/// The order in which the members were made.
fn sort_by_membership(before: &Model, cen: &CenId, wires: &mut [Wire]) {
    let members = before.cens().get(cen).map(|cen| cen.members()).unwrap_or_default();
    let place = |container: &ContainerId| members.iter().position(|member| member == container);
    wires.sort_by_key(|wire| wire.containers().filter_map(place).min().unwrap_or(usize::MAX));
}

pub(super) fn wants_bridge(model: &Model, cen: &CenId) -> bool {
    is_up(model, cen) && model.wire_type(cen) == Some(WireType::Bus)
}

/// The wires that are to be there; without those of containers that are not.
fn wanted_wires(task: &Task<'_>, seen: &Seen, cen: &CenId) -> Vec<Wire> {
    if !is_up(task.model, cen) {
        return Vec::new();
    }
    let wires = wires_of(task.model, cen).into_iter();
    if task.missing == Missing::Fails {
        return wires.collect();
    }
    wires.filter(|wire| wire.containers().all(|c| seen.inside.contains_key(c))).collect()
}

/// The state of a wire on the host.
enum State {
    /// Nothing.
    Absent,
    /// A pair, as it should be.
    Whole,
    /// A pair, not up, not in its bridge or not marked.
    Loose,
    /// Something else.
    Broken,
}

fn state(host: &str, seen: &Seen, wire: &Wire) -> State {
    let [a, b] = wire.ends();
    match (link_of(host, seen, wire, a), link_of(host, seen, wire, b)) {
        (None, None) => State::Absent,
        (Some(a), Some(b)) if are_paired(a, b) => {
            let bridge = our_bridge(seen, wire.cen()).map(|bridge| bridge.index);
            let attached = !wire.is_bus() || (bridge.is_some() && b.master == bridge);
            let whole = attached && a.up && b.up && a.marked && b.marked;
            if whole { State::Whole } else { State::Loose }
        }
        _ => State::Broken,
    }
}

fn are_paired(a: &Link, b: &Link) -> bool {
    a.peer == Some(b.index) && b.peer == Some(a.index)
}

pub(super) fn our_bridge<'s>(seen: &'s Seen, cen: &CenId) -> Option<&'s Link> {
    let is_ours = |link: &&Link| matches!(link.purpose(), Some(Purpose::Bridge(id)) if id == cen);
    seen.host.get(cen.as_str()).filter(is_ours)
}

/// The interface of an end, if it is made for exactly that.
fn link_of<'s>(host: &str, seen: &'s Seen, wire: &Wire, end: &EndId) -> Option<&'s Link> {
    let link = match end.side() {
        Side::In => seen.inside.get(end.container())?.links.get(wire.cen().as_str())?,
        Side::Out => seen.host.get(&out_name(host, end.container(), end.number()))?,
    };
    let purpose = Purpose::Wire(wire.cen().clone(), end.container().clone(), end.number());
    (link.purpose() == Some(&purpose)).then_some(link)
}

/// The wires of a CEN that are there, whole or in part: those with an end on the host, then those between containers, then single ends.
fn present_wires(host: &str, seen: &Seen, cen: &CenId) -> Vec<Wire> {
    let mut wires: Vec<Wire> = Vec::new();
    for (name, link) in &seen.host {
        if let Some(Purpose::Wire(of, container, number)) = link.purpose()
            && of == cen
            && *name == out_name(host, container, *number)
        {
            wires.push(Wire::bus(cen, container, *number));
        }
    }
    let inner = inner_ends(seen, cen);
    for (container, number, link) in &inner {
        if wires.iter().any(|wire| wire.containers().any(|known| known == *container)) {
            continue;
        }
        let partner =
            inner.iter().find(|(other, _, end)| other != container && are_paired(link, end));
        wires.push(match partner {
            Some((other, theirs, _)) => Wire::direct(cen, (container, *number), (other, *theirs)),
            None => Wire::bus(cen, container, *number),
        });
    }
    wires
}

fn inner_ends<'s>(seen: &'s Seen, cen: &CenId) -> Vec<(&'s ContainerId, u16, &'s Link)> {
    let ends = seen.inside.iter().filter_map(|(container, inside)| {
        let link = inside.links.get(cen.as_str())?;
        match link.purpose()? {
            Purpose::Wire(of, owner, number) if of == cen && owner == container => {
                Some((container, *number, link))
            }
            _ => None,
        }
    });
    ends.collect()
}
