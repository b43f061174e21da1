//! Obstacles to a plan, and remains of earlier ones.

use std::collections::BTreeMap;

use super::{Missing, Task};
use crate::model::WireType;
use crate::name::{Purpose, out_name};
use crate::operation::Operation;
use crate::seen::{Inside, Link, Owner, Seen};
use crate::wire::{Side, wires_of};
use crate::{CenId, Code, ContainerId, Error, Model};

/// The CENs that are to be on the host and cannot.
pub(super) fn refused(task: &Task<'_>, seen: &Seen) -> BTreeMap<CenId, Error> {
    let mut refused = BTreeMap::new();
    for cen in &task.scope.cens {
        if !is_up(task.model, cen) {
            continue;
        }
        if let Err(error) = check(task, seen, cen) {
            refused.insert(cen.clone(), error);
        }
    }
    refused
}

pub(super) fn is_up(model: &Model, cen: &CenId) -> bool {
    model.cens().get(cen).is_some_and(|cen| cen.status().is_up())
}

fn check(task: &Task<'_>, seen: &Seen, cen: &CenId) -> Result<(), Error> {
    if task.missing == Missing::Fails {
        let members = task.model.cen(cen.as_str())?.members();
        if let Some(error) = members.iter().find_map(|member| seen.missing.get(member)) {
            return Err(error.clone());
        }
    }
    if task.model.wire_type(cen) == Some(WireType::Bus) {
        let free = seen.host.get(cen.as_str()).is_none_or(
            |link| matches!(link.purpose(), Some(Purpose::Bridge(known)) if known == cen),
        );
        refuse_unless(free, cen.as_str(), "the host")?;
    }
    for end in wires_of(task.model, cen).iter().flat_map(|wire| wire.ends()) {
        check_end(task.host, seen, cen, end)?;
    }
    Ok(())
}

fn check_end(host: &str, seen: &Seen, cen: &CenId, end: &crate::wire::EndId) -> Result<(), Error> {
    let (name, link, place) = match end.side() {
        Side::In => {
            let links = seen.inside.get(end.container()).map(|inside| &inside.links);
            let link = links.and_then(|links| links.get(cen.as_str()));
            (cen.to_string(), link, format!("container {}", end.container()))
        }
        Side::Out => {
            let name = out_name(host, end.container(), end.number());
            let link = seen.host.get(&name);
            (name, link, "the host".to_owned())
        }
    };
    let free = link.is_none_or(|link| matches!(link.purpose(), Some(Purpose::Wire(..))));
    refuse_unless(free, &name, &place)
}

fn refuse_unless(free: bool, name: &str, place: &str) -> Result<(), Error> {
    if free {
        return Ok(());
    }
    let why = format!(
        "{place} has an interface {name} that Leviathan did not make; remove or rename it, or use another id"
    );
    Err(Error::new(Code::ForeignInterface, why).with_details([name]))
}

pub(super) fn strays(host: &str, model: &Model, seen: &Seen) -> Vec<Operation> {
    let mut strays = Vec::new();
    for (name, link) in &seen.host {
        if is_stray(host, model, name, link) {
            strays.push(Operation::Stray(None, name.clone()));
        }
    }
    for (container, Inside { links, .. }) in &seen.inside {
        let lost = links.iter().filter(|(name, link)| {
            // With an end on the host, the other goes.
            !has_outer_end(host, seen, container, link) && is_stray(host, model, name, link)
        });
        let of = Some(container.clone());
        strays.extend(lost.map(|(name, _)| Operation::Stray(of.clone(), name.clone())));
    }
    strays
}

fn has_outer_end(host: &str, seen: &Seen, container: &ContainerId, link: &Link) -> bool {
    match link.purpose() {
        Some(Purpose::Wire(_, _, number)) => {
            seen.host.contains_key(&out_name(host, container, *number))
        }
        _ => false,
    }
}

fn is_stray(host: &str, model: &Model, name: &str, link: &Link) -> bool {
    match &link.owner {
        Owner::Foreign => false,
        Owner::Unfinished(_) => true,
        Owner::Ours(Purpose::Bridge(cen)) => {
            cen.as_str() == name && !model.cens().contains_key(cen)
        }
        Owner::Ours(Purpose::Wire(cen, ..)) => !model.cens().contains_key(cen),
        Owner::Ours(Purpose::Trunk(cin, cen)) => {
            let joins = model
                .cins()
                .get(cin)
                .is_some_and(|cin| cin.cens().iter().skip(1).any(|c| c == cen));
            !joins && crate::seen::is_trunk(host, name, link)
        }
    }
}
