//! The changes between two models, as a list of instructions in a fixed order.

use std::collections::BTreeSet;

use crate::model::{Cen, Container, Model, WireType, Wiring};
use crate::wire::{Wire, wires_of};
use crate::{CenId, ContainerId};

/// Whether an item comes or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Change {
    Add,
    Destroy,
}

/// One instruction of a delta.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// A CEN, as it is on the side that has it.
    Cen(Change, CenId, Cen),
    /// A membership, with both records of the side that has it.
    ContainerInCen(Change, (ContainerId, Container), (CenId, Cen)),
    /// A CEN is wired otherwise; only when wiring is automatic.
    SetWireType(CenId, Option<WireType>),
    /// A bridge; only when wiring is automatic.
    Bridge(Change, CenId),
    /// A container, as it is on the side that has it.
    Container(Change, ContainerId, Container),
    /// A wire.
    Wire(Change, Wire),
}

/// The instructions that lead from `old` to `new`: CENs; then for each CEN in ascending order memberships, wire type and bridge; then
/// containers; then wires. Within each group what goes comes before what comes.
#[must_use]
pub fn delta(old: &Model, new: &Model) -> Vec<Instruction> {
    let mut delta = Vec::new();
    cens(old, new, &mut delta);
    let ids: BTreeSet<&CenId> = old.cens().keys().chain(new.cens().keys()).collect();
    for id in ids {
        memberships(old, new, id, &mut delta);
        if new.wiring() == Wiring::Auto {
            wiring(old, new, id, &mut delta);
        }
    }
    containers(old, new, &mut delta);
    wires(old, new, &mut delta);
    delta
}

fn cens(old: &Model, new: &Model, delta: &mut Vec<Instruction>) {
    for (change, from, to) in [(Change::Destroy, old, new), (Change::Add, new, old)] {
        let only = from.cens().iter().filter(|(id, _)| !to.cens().contains_key(*id));
        delta.extend(only.map(|(id, cen)| Instruction::Cen(change, id.clone(), cen.clone())));
    }
}

fn memberships(old: &Model, new: &Model, id: &CenId, delta: &mut Vec<Instruction>) {
    for (change, from, to) in [(Change::Destroy, old, new), (Change::Add, new, old)] {
        let Some(cen) = from.cens().get(id) else { continue };
        let there = to.cens().get(id).map(Cen::members).unwrap_or_default();
        for member in cen.members().iter().filter(|member| !there.contains(member)) {
            let record = from.containers().get(member).cloned().unwrap_or_default();
            let container = (member.clone(), record);
            let cen = (id.clone(), cen.clone());
            delta.push(Instruction::ContainerInCen(change, container, cen));
        }
    }
}

fn wiring(old: &Model, new: &Model, id: &CenId, delta: &mut Vec<Instruction>) {
    let (before, after) = (old.wire_type(id), new.wire_type(id));
    if before != after {
        delta.push(Instruction::SetWireType(id.clone(), after));
    }
    let is_bus = |wire_type| wire_type == Some(WireType::Bus);
    if is_bus(after) && !is_bus(before) {
        delta.push(Instruction::Bridge(Change::Add, id.clone()));
    }
    if is_bus(before) && !is_bus(after) {
        delta.push(Instruction::Bridge(Change::Destroy, id.clone()));
    }
}

fn containers(old: &Model, new: &Model, delta: &mut Vec<Instruction>) {
    for (change, from, to) in [(Change::Destroy, old, new), (Change::Add, new, old)] {
        let only = from.containers().iter().filter(|(id, _)| !to.containers().contains_key(*id));
        delta.extend(
            only.map(|(id, record)| Instruction::Container(change, id.clone(), record.clone())),
        );
    }
}

fn wires(old: &Model, new: &Model, delta: &mut Vec<Instruction>) {
    for (change, from, to) in [(Change::Destroy, old, new), (Change::Add, new, old)] {
        let there: BTreeSet<_> = all_wires(to).iter().map(Wire::key).collect();
        let only = all_wires(from).into_iter().filter(|wire| !there.contains(&wire.key()));
        delta.extend(only.map(|wire| Instruction::Wire(change, wire)));
    }
}

fn all_wires(model: &Model) -> Vec<Wire> {
    model.cens().keys().flat_map(|cen| wires_of(model, cen)).collect()
}
