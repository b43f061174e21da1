//! The one model of all networks of a host: definitions, numbers, addresses and statuses. No I/O.

mod cen;
mod cin;
mod container;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use cen::{Cen, WireType, Wiring};
pub use cin::{Cin, ContainerAddress};
pub use container::Container;

use crate::{CenId, CinId, Code, ContainerId, Error};

/// The state of a CEN or CIN, between definition and host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Status {
    /// Defined; nothing of it is on the host.
    #[default]
    Pending,
    /// On its way to the host.
    Preparing,
    /// On the host.
    Ready,
    /// On its way from the host. The original wrote `destroy`.
    #[serde(alias = "destroy")]
    Destroying,
    /// An operation failed, and so did its rollback: reconciliation removes what is left.
    Failed,
}

impl Status {
    /// Whether the host is meant to have it.
    #[must_use]
    pub fn is_up(self) -> bool {
        matches!(self, Self::Preparing | Self::Ready)
    }

    /// Whether an operation is under way.
    #[must_use]
    pub fn is_busy(self) -> bool {
        matches!(self, Self::Preparing | Self::Destroying)
    }

    /// The status as clients see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Preparing => "preparing",
            Self::Ready => "ready",
            Self::Destroying => "destroying",
            Self::Failed => "failed",
        }
    }
}

/// Why the last operation on a CEN or CIN failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// The [`Code`] as text.
    pub code: String,
    /// The thing, the cause, the cure.
    pub message: String,
}

impl From<&Error> for LastError {
    fn from(error: &Error) -> Self {
        Self { code: error.code().as_str().to_owned(), message: error.to_string() }
    }
}

/// Everything that is defined on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    pub(crate) wiring: Wiring,
    pub(crate) cens: BTreeMap<CenId, Cen>,
    pub(crate) containers: BTreeMap<ContainerId, Container>,
    pub(crate) cins: BTreeMap<CinId, Cin>,
    pub(crate) next_ip_b: u8,
}

impl Default for Model {
    fn default() -> Self {
        Self::new(Wiring::default())
    }
}

impl Model {
    /// An empty model.
    #[must_use]
    pub fn new(wiring: Wiring) -> Self {
        let next_ip_b = *crate::number::IP_B.start();
        Self {
            wiring,
            cens: BTreeMap::new(),
            containers: BTreeMap::new(),
            cins: BTreeMap::new(),
            next_ip_b,
        }
    }

    /// How CENs are wired.
    #[must_use]
    pub fn wiring(&self) -> Wiring {
        self.wiring
    }

    /// All CENs by id.
    #[must_use]
    pub fn cens(&self) -> &BTreeMap<CenId, Cen> {
        &self.cens
    }

    /// All containers by id. One that is in no CEN has a record only if it was registered.
    #[must_use]
    pub fn containers(&self) -> &BTreeMap<ContainerId, Container> {
        &self.containers
    }

    /// All CINs by id.
    #[must_use]
    pub fn cins(&self) -> &BTreeMap<CinId, Cin> {
        &self.cins
    }

    /// The second octet that the next CIN gets, unless it is in use on the host.
    #[must_use]
    pub fn next_ip_b(&self) -> u8 {
        self.next_ip_b
    }

    /// The CEN of this id.
    ///
    /// # Errors
    /// `unknown_cen`.
    pub fn cen(&self, id: &str) -> Result<&Cen, Error> {
        self.cens.get(id).ok_or_else(|| unknown(Code::UnknownCen, "CEN", [id]))
    }

    /// The CIN of this id.
    ///
    /// # Errors
    /// `unknown_cin`.
    pub fn cin(&self, id: &str) -> Result<&Cin, Error> {
        self.cins.get(id).ok_or_else(|| unknown(Code::UnknownCin, "CIN", [id]))
    }

    /// The container of this id.
    ///
    /// # Errors
    /// `unknown_container`.
    pub fn container(&self, id: &str) -> Result<&Container, Error> {
        let found = self.containers.get(id);
        found.ok_or_else(|| unknown(Code::UnknownContainer, "container", [id]))
    }

    pub(crate) fn cen_mut(&mut self, id: &CenId) -> Result<&mut Cen, Error> {
        self.cens.get_mut(id).ok_or_else(|| unknown(Code::UnknownCen, "CEN", [id.as_str()]))
    }

    pub(crate) fn cin_mut(&mut self, id: &CinId) -> Result<&mut Cin, Error> {
        self.cins.get_mut(id).ok_or_else(|| unknown(Code::UnknownCin, "CIN", [id.as_str()]))
    }

    /// The CENs of these ids.
    ///
    /// # Errors
    /// `unknown_cen` with every unknown id.
    pub fn known_cens(&self, ids: &[String]) -> Result<Vec<CenId>, Error> {
        let known = ids.iter().filter_map(|id| self.cens.get_key_value(id.as_str()));
        let known: Vec<CenId> = known.map(|(id, _)| id.clone()).collect();
        let lost = ids.iter().map(String::as_str).filter(|id| !self.cens.contains_key(*id));
        refuse_unknown(Code::UnknownCen, "CEN", lost.collect())?;
        Ok(known)
    }

    /// The CINs of these ids.
    ///
    /// # Errors
    /// `unknown_cin` with every unknown id.
    pub fn known_cins(&self, ids: &[String]) -> Result<Vec<CinId>, Error> {
        let known = ids.iter().filter_map(|id| self.cins.get_key_value(id.as_str()));
        let known: Vec<CinId> = known.map(|(id, _)| id.clone()).collect();
        let lost = ids.iter().map(String::as_str).filter(|id| !self.cins.contains_key(*id));
        refuse_unknown(Code::UnknownCin, "CIN", lost.collect())?;
        Ok(known)
    }

    /// The CIN that covers a CEN.
    #[must_use]
    pub fn cin_over(&self, cen: &CenId) -> Option<&CinId> {
        self.cins.iter().find(|(_, cin)| cin.cens.contains(cen)).map(|(id, _)| id)
    }
}

fn refuse_unknown(code: Code, what: &str, lost: Vec<&str>) -> Result<(), Error> {
    if lost.is_empty() { Ok(()) } else { Err(unknown(code, what, lost)) }
}

fn unknown<'i>(code: Code, what: &str, ids: impl IntoIterator<Item = &'i str>) -> Error {
    let ids: Vec<&str> = ids.into_iter().collect();
    Error::new(code, format!("{what} not found: {}", ids.join(", "))).with_details(ids)
}
