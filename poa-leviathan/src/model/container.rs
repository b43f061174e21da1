//! Containers: what they are in, by which interface numbers, and how they are tagged.

use serde::{Deserialize, Serialize};

use super::Model;
use crate::number::next_interface_number;
use crate::{CenId, ContainerId, Error};

/// A container: two parallel lists, the CENs it is in and the number of its interface in each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    pub(crate) cens: Vec<CenId>,
    pub(crate) numbers: Vec<u16>,
    #[serde(default)]
    pub(crate) tag: Option<String>,
    /// Stays known without a membership.
    #[serde(default)]
    pub(crate) registered: bool,
    /// The CEN whose CIN owns the default route, whatever the order of the networks.
    #[serde(default)]
    pub(crate) default_route: Option<CenId>,
}

impl Container {
    /// The CENs it is in, in the order in which it joined them.
    #[must_use]
    pub fn cens(&self) -> &[CenId] {
        &self.cens
    }

    /// The number of its interface in each CEN of [`cens`](Self::cens).
    #[must_use]
    pub fn reserved_numbers(&self) -> &[u16] {
        &self.numbers
    }

    /// The tag that monitors filter by.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The number of its interface in a CEN.
    #[must_use]
    pub fn number_in(&self, cen: &CenId) -> Option<u16> {
        let at = self.cens.iter().position(|known| known == cen)?;
        self.numbers.get(at).copied()
    }

    /// Takes a number for one more CEN. No change if it is in that CEN.
    pub(super) fn join(&mut self, cen: &CenId) -> Result<(), Error> {
        if !self.cens.contains(cen) {
            self.numbers.push(next_interface_number(&self.numbers)?);
            self.cens.push(cen.clone());
        }
        Ok(())
    }

    /// Takes a CEN back with the number that it had, or the next that is free.
    pub(super) fn rejoin(&mut self, cen: &CenId, number: Option<u16>) {
        if self.cens.contains(cen) {
            return;
        }
        let free = number.filter(|number| !self.numbers.contains(number));
        if let Some(number) = free.or_else(|| next_interface_number(&self.numbers).ok()) {
            self.numbers.push(number);
            self.cens.push(cen.clone());
        }
    }

    pub(super) fn leave(&mut self, cen: &CenId) {
        if let Some(at) = self.cens.iter().position(|known| known == cen) {
            self.cens.remove(at);
            self.numbers.remove(at);
        }
        if self.default_route.as_ref() == Some(cen) {
            self.default_route = None;
        }
    }

    fn is_forgotten(&self) -> bool {
        self.cens.is_empty() && !self.registered
    }
}

impl Model {
    /// Makes a container known without a membership; sets its tag if one is given.
    pub fn register(&mut self, id: &ContainerId, tag: Option<Option<String>>) {
        let container = self.containers.entry(id.clone()).or_default();
        container.registered = true;
        if let Some(tag) = tag {
            container.tag = tag;
        }
    }

    /// Forgets a container that is in no CEN.
    pub fn unregister(&mut self, id: &ContainerId) {
        if let Some(container) = self.containers.get_mut(id) {
            container.registered = false;
        }
        self.forget_if_unused(id);
    }

    /// Sets the tag of a container that is known.
    ///
    /// # Errors
    /// `unknown_container`.
    pub fn set_tag(&mut self, id: &ContainerId, tag: Option<String>) -> Result<(), Error> {
        self.container(id.as_str())?;
        self.containers.entry(id.clone()).or_default().tag = tag;
        Ok(())
    }

    /// Makes the CIN over `cen` the owner of the default route of a container.
    pub(crate) fn prefer_default_route(&mut self, id: &ContainerId, cen: &CenId) {
        if let Some(container) = self.containers.get_mut(id) {
            container.default_route = Some(cen.clone());
        }
    }

    pub(super) fn forget_if_unused(&mut self, id: &ContainerId) {
        if self.containers.get(id).is_some_and(Container::is_forgotten) {
            self.containers.remove(id);
        }
    }
}
