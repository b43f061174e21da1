//! Events: changes of networks and containers.

use serde::{Deserialize, Serialize};

use crate::model::LastError;
use crate::{CenId, CinId, ContainerId};

/// A change that is done. As JSON it is an object with `type` and the ids it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
#[allow(missing_docs, reason = "the names say it")]
pub enum Event {
    /// A CEN is on the host.
    CenMade {
        #[serde(rename = "cenID")]
        cen: CenId,
    },
    /// An operation on a CEN failed.
    CenFailed {
        #[serde(rename = "cenID")]
        cen: CenId,
        error: LastError,
    },
    /// Something of a CEN was missing on the host, and was put back.
    CenRepaired {
        #[serde(rename = "cenID")]
        cen: CenId,
    },
    /// A CEN is no longer on the host.
    CenDestroyed {
        #[serde(rename = "cenID")]
        cen: CenId,
    },
    /// A CIN has its addresses.
    CinMade {
        #[serde(rename = "cinID")]
        cin: CinId,
    },
    /// An operation on a CIN failed.
    CinFailed {
        #[serde(rename = "cinID")]
        cin: CinId,
        error: LastError,
    },
    /// An address or route of a CIN was missing, and was put back.
    CinRepaired {
        #[serde(rename = "cinID")]
        cin: CinId,
    },
    /// A CIN has no addresses any more.
    CinDestroyed {
        #[serde(rename = "cinID")]
        cin: CinId,
    },
    /// A container joined a CEN.
    ContainerAdded {
        #[serde(rename = "contID")]
        container: ContainerId,
        #[serde(rename = "cenID")]
        cen: CenId,
    },
    /// A container left a CEN.
    ContainerRemoved {
        #[serde(rename = "contID")]
        container: ContainerId,
        #[serde(rename = "cenID")]
        cen: CenId,
    },
    /// A member of a CEN that is on the host does not run.
    ContainerMissing {
        #[serde(rename = "contID")]
        container: ContainerId,
    },
    /// A container that was missing runs again.
    ContainerFound {
        #[serde(rename = "contID")]
        container: ContainerId,
    },
}

impl Event {
    /// The container that the event is about, if it is about one.
    #[must_use]
    pub fn container(&self) -> Option<&ContainerId> {
        match self {
            Self::ContainerAdded { container, .. }
            | Self::ContainerRemoved { container, .. }
            | Self::ContainerMissing { container }
            | Self::ContainerFound { container } => Some(container),
            _ => None,
        }
    }
}
