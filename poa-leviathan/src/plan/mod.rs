//! From the target and the observed state to the operations in between. Pure: no I/O.
//!
//! The target follows from the model alone: a CEN or CIN that is preparing or ready is to be on the host, all others are not. Making,
//! destroying, rolling back and recovering from a crash are therefore one function, [`converge`].

mod address;
mod check;
mod wiring;

use std::collections::{BTreeMap, BTreeSet};

use crate::operation::Operation;
use crate::seen::Seen;
use crate::{CenId, CinId, ContainerId, Error, Model};

/// The networks that a plan covers. All others stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// The CENs, in the order in which they are to be handled.
    pub cens: Vec<CenId>,
    /// The CINs; those over a CEN of the scope count without being named.
    pub cins: Vec<CinId>,
}

impl Scope {
    /// These CENs.
    #[must_use]
    pub fn cens(cens: impl IntoIterator<Item = CenId>) -> Self {
        Self { cens: cens.into_iter().collect(), cins: Vec::new() }
    }

    /// These CINs and the CENs that they cover.
    #[must_use]
    pub fn cins(model: &Model, cins: &[CinId]) -> Self {
        let known = cins.iter().filter_map(|id| model.cins().get(id));
        let mut cens: Vec<CenId> = Vec::new();
        for cen in known.flat_map(|cin| cin.cens()) {
            if !cens.contains(cen) {
                cens.push(cen.clone());
            }
        }
        Self { cens, cins: cins.to_vec() }
    }

    /// Everything that is defined.
    #[must_use]
    pub fn all(model: &Model) -> Self {
        Self { cens: model.cens().keys().cloned().collect(), cins: Vec::new() }
    }

    /// The CINs of the scope, named ones first.
    pub(crate) fn all_cins(&self, model: &Model) -> Vec<CinId> {
        let mut cins = self.cins.clone();
        for cin in self.cens.iter().filter_map(|cen| model.cin_over(cen)) {
            if !cins.contains(cin) {
                cins.push(cin.clone());
            }
        }
        cins
    }

    /// The containers that have to be looked into: members now, members before, in order of first appearance.
    #[must_use]
    pub fn containers(&self, models: &[&Model]) -> Vec<ContainerId> {
        let (mut seen, mut containers) = (BTreeSet::new(), Vec::new());
        for cen in &self.cens {
            let known = models.iter().filter_map(|model| model.cens().get(cen));
            for member in known.flat_map(|cen| cen.members()) {
                if seen.insert(member) {
                    containers.push(member.clone());
                }
            }
        }
        containers
    }
}

/// The treatment of a CEN with a missing member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It fails, and nothing of it is touched: a client asked for it.
    Fails,
    /// Its other members are served: reconciliation.
    IsLeftOut,
}

/// The input of a plan.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    /// The host id, which goes into names that are too long otherwise.
    pub host: &'a str,
    /// The target.
    pub model: &'a Model,
    /// The target before; decides the order in which things go.
    pub before: &'a Model,
    /// The networks it covers.
    pub scope: &'a Scope,
    /// The containers whose namespaces are to be linked.
    pub link: &'a [ContainerId],
    /// The treatment of a CEN with a missing member.
    pub missing: Missing,
}

/// The operations that lead there, in order, and the CENs for which there are none because something is in the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The operations, in order.
    pub operations: Vec<Operation>,
    /// The CENs that cannot be handled, and why. No operation touches them.
    pub refused: BTreeMap<CenId, Error>,
}

impl Plan {
    /// Whether nothing has to be changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.iter().all(Operation::is_look)
    }

    /// The containers whose traffic is interrupted, each once.
    #[must_use]
    pub fn interrupted(&self) -> BTreeSet<&ContainerId> {
        self.operations.iter().flat_map(Operation::interrupts).collect()
    }
}

/// Makes the plan of a task.
///
/// The order of the operations: addresses go (section 4.3 of the specification), bridges go, bridges come, namespaces are linked, wires go,
/// wires come, addresses come (3.4 to 3.7, 4.2). What is there and as it should be is left out.
#[must_use]
pub fn converge(task: &Task<'_>, mut seen: Seen) -> Plan {
    seen.claim(task.host, &[task.model, task.before]);
    let refused = check::refused(task, &seen);
    let scope = task.scope.cens.iter().filter(|cen| !refused.contains_key(*cen));
    let handled: Vec<CenId> = scope.cloned().collect();
    let wiring = wiring::Wiring::plan(task, &seen, &handled);
    let addresses = address::Addresses::plan(task, &seen, &handled, &wiring);
    let members = Scope::cens(handled.iter().cloned()).containers(&[task.model]);
    let links = task.link.iter().filter(|c| seen.inside.contains_key(*c) && members.contains(c));
    let mut operations = addresses.gone;
    operations.extend(wiring.bridges_gone);
    operations.extend(wiring.bridges_made);
    operations.extend(links.cloned().map(Operation::NetnsLink));
    operations.extend(wiring.wires_gone.into_iter().map(Operation::WireDown));
    operations.extend(wiring.wires_made);
    operations.extend(addresses.made);
    Plan { operations, refused }
}

/// Interfaces of ours that nothing defined needs: of CENs that are not known, or never finished.
#[must_use]
pub fn strays(host: &str, model: &Model, seen: &Seen) -> Vec<Operation> {
    let mut seen = seen.clone();
    seen.claim(host, &[model]);
    check::strays(host, model, &seen)
}
