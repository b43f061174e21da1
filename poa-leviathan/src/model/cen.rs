//! CENs: members and how they are wired.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{LastError, Model, Status};
use crate::document::CenDocument;
use crate::{CenId, CinId, Code, ContainerId, Error};

/// How CENs are wired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wiring {
    /// Every CEN has a bridge.
    #[default]
    AlwaysBus,
    /// Two members are joined by one pair; three and more by a bridge; fewer need nothing.
    Auto,
}

/// How one CEN is wired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WireType {
    /// A bridge, and a pair for each member when there are two or more.
    Bus,
    /// One pair that joins two members.
    Wire,
}

impl WireType {
    /// `bus` or `wire`, the value of the key `wire_type`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bus => "bus",
            Self::Wire => "wire",
        }
    }

    /// `bridge` or `wire`, the value of the key `wiring_type`.
    #[must_use]
    pub fn as_wiring_type(self) -> &'static str {
        match self {
            Self::Bus => "bridge",
            Self::Wire => "wire",
        }
    }
}

/// A CEN: a layer-2 segment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cen {
    pub(crate) members: Vec<ContainerId>,
    pub(crate) status: Status,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_error: Option<LastError>,
}

impl Cen {
    /// Its members, in membership order.
    #[must_use]
    pub fn members(&self) -> &[ContainerId] {
        &self.members
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status
    }

    /// Why the last operation failed, if it did.
    #[must_use]
    pub fn last_error(&self) -> Option<&LastError> {
        self.last_error.as_ref()
    }
}

impl Model {
    /// How a CEN is wired; `None` when nothing of it is needed on the host, or it is not known.
    ///
    /// A CIN over several CENs joins their bridges: while it is on the host, each of them is a bridge.
    #[must_use]
    pub fn wire_type(&self, id: &CenId) -> Option<WireType> {
        let cen = self.cens.get(id)?;
        if self.wiring == Wiring::AlwaysBus || self.is_joined(id) {
            return Some(WireType::Bus);
        }
        match cen.members.len() {
            0 | 1 => None,
            2 => Some(WireType::Wire),
            _ => Some(WireType::Bus),
        }
    }

    fn is_joined(&self, cen: &CenId) -> bool {
        let joins =
            |cin: &super::Cin| cin.cens.len() > 1 && cin.status.is_up() && cin.cens.contains(cen);
        self.cins.values().any(joins)
    }

    /// Whether the members of a CEN have interfaces in it.
    pub(crate) fn has_wires(&self, id: &CenId) -> bool {
        self.cens.get(id).is_some_and(|cen| cen.members.len() > 1)
    }

    /// Creates an empty CEN; no change if it exists. Tells whether it was created.
    pub fn add_cen(&mut self, id: &CenId) -> bool {
        let created = !self.cens.contains_key(id);
        self.cens.entry(id.clone()).or_default();
        created
    }

    /// Adds a container to a CEN, creating either; no change if it is a member. Tells whether it was added.
    ///
    /// # Errors
    /// `no_interface_number_left`, `ip_range_exhausted`. The model is then to be discarded.
    pub fn add_member(&mut self, cen: &CenId, container: &ContainerId) -> Result<bool, Error> {
        self.add_cen(cen);
        let members = &mut self.cen_mut(cen)?.members;
        if members.contains(container) {
            return Ok(false);
        }
        members.push(container.clone());
        self.containers.entry(container.clone()).or_default().join(cen)?;
        self.number_members_over(cen)?;
        Ok(true)
    }

    /// Removes a container from a CEN; it is forgotten if that was its last.
    ///
    /// # Errors
    /// `unknown_cen`, `not_a_member`.
    pub fn remove_member(&mut self, cen: &CenId, container: &ContainerId) -> Result<(), Error> {
        let members = &mut self.cen_mut(cen)?.members;
        let Some(at) = members.iter().position(|member| member == container) else {
            let why = format!("container {container} is not a member of CEN {cen}");
            let ids = [container.as_str(), cen.as_str()];
            return Err(Error::new(Code::NotAMember, why).with_details(ids));
        };
        members.remove(at);
        self.leave(cen, container);
        Ok(())
    }

    /// Removes a CEN, its memberships and their numbers.
    ///
    /// # Errors
    /// `unknown_cen`; `cen_in_use` when a CIN covers it.
    pub fn remove_cen(&mut self, id: &CenId) -> Result<(), Error> {
        self.cen(id.as_str())?;
        if let Some(cin) = self.cin_over(id) {
            let why = format!("CIN {cin} covers CEN {id}; delete that CIN first");
            return Err(Error::new(Code::CenInUse, why).with_details([id]));
        }
        let members = self.cens.remove(id).map(|cen| cen.members).unwrap_or_default();
        for member in &members {
            self.leave(id, member);
        }
        Ok(())
    }

    /// Makes the members of each CEN of a document exactly those it lists, in its order. Surviving members keep their numbers;
    /// CENs that are not in the document are untouched; a new CEN is pending, a known one keeps its status.
    ///
    /// # Errors
    /// `no_interface_number_left`, `ip_range_exhausted`. The model is then to be discarded.
    pub fn import_cens(&mut self, document: &CenDocument) -> Result<(), Error> {
        for definition in &document.cens {
            self.add_cen(&definition.id);
            let cen = self.cen_mut(&definition.id)?;
            let before = std::mem::take(&mut cen.members);
            let (kept, lost): (Vec<_>, Vec<_>) =
                before.into_iter().partition(|member| definition.members.contains(member));
            cen.members = kept;
            for member in &lost {
                self.leave(&definition.id, member);
            }
        }
        for definition in &document.cens {
            for member in &definition.members {
                self.containers.entry(member.clone()).or_default().join(&definition.id)?;
            }
            self.cen_mut(&definition.id)?.members = definition.members.clone();
            self.number_members_over(&definition.id)?;
        }
        Ok(())
    }

    /// Brings the members of CENs back to what they were in an earlier model, with their numbers where those are still free.
    pub(crate) fn restore_cens(&mut self, earlier: &Self, cens: &[CenId]) {
        for id in cens {
            let Some(old) = earlier.cens.get(id) else {
                for member in self.cens.remove(id).map(|cen| cen.members).unwrap_or_default() {
                    self.leave(id, &member);
                }
                continue;
            };
            let now = self.cens.get(id).map(|cen| cen.members.clone()).unwrap_or_default();
            for member in now.iter().filter(|member| !old.members.contains(member)) {
                self.leave(id, member);
            }
        }
        // Only now are the numbers free.
        for id in cens {
            let Some(old) = earlier.cens.get(id) else { continue };
            for member in &old.members {
                self.rejoin(earlier, id, member);
            }
            self.cens.entry(id.clone()).or_default().members.clone_from(&old.members);
        }
        let over: BTreeSet<CinId> =
            cens.iter().filter_map(|cen| self.cin_over(cen)).cloned().collect();
        for cin in over {
            self.restore_numbers(earlier, &cin);
        }
    }

    fn rejoin(&mut self, earlier: &Self, cen: &CenId, member: &ContainerId) {
        let known = earlier.containers.get(member);
        let number = known.and_then(|container| container.number_in(cen));
        let container = self.containers.entry(member.clone()).or_default();
        container.rejoin(cen, number);
        if let Some(known) = known {
            container.tag.clone_from(&known.tag);
            container.registered |= known.registered;
        }
    }

    /// Whatever a container loses with a membership that is no longer listed.
    fn leave(&mut self, cen: &CenId, container: &ContainerId) {
        if let Some(known) = self.containers.get_mut(container) {
            known.leave(cen);
        }
        self.free_number_over(cen, container);
        self.forget_if_unused(container);
    }
}
