//! Operations: the steps that change a host.

use std::fmt;
use std::net::Ipv4Addr;

use crate::wire::Wire;
use crate::{CenId, CinId, ContainerId};

/// The address of a container and the routes that go with it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Addressing {
    /// The container.
    pub container: ContainerId,
    /// The CEN, and so the interface inside the container.
    pub cen: CenId,
    /// The address.
    pub ip: Ipv4Addr,
    /// The second octet of the network.
    pub ip_b: u8,
    /// Whether the default route of the container goes through this interface.
    pub owns_default: bool,
}

/// The pair that joins the bridge of a further CEN of a CIN to that of its first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Trunk {
    /// The CIN.
    pub cin: CinId,
    /// Its first CEN.
    pub first: CenId,
    /// The further one.
    pub cen: CenId,
}

/// One step on the host. Each can be applied again: what is there already stays.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Makes a bridge and brings it up.
    BridgeUp(CenId),
    /// Deletes a bridge.
    BridgeDown(CenId),
    /// Makes the network namespace of a container reachable.
    NetnsLink(ContainerId),
    /// Makes a pair, puts its ends where they belong and brings them up.
    WireUp(Wire),
    /// Corrects a pair that is there: up, and in its bridge.
    WireFix(Wire),
    /// Deletes a pair.
    WireDown(Wire),
    /// Gives a bridge its gateway address.
    BridgeAddress(CenId, u8),
    /// Takes it away.
    BridgeAddressDown(CenId, u8),
    /// Joins two bridges.
    TrunkUp(Trunk),
    /// Parts them.
    TrunkDown(Trunk),
    /// Gives a container an address and the route to its network.
    ContainerAddress(Addressing),
    /// Takes both away, and its default route through that interface.
    ContainerAddressDown(Addressing),
    /// Makes the interface of a CEN the default route of a container, in place of another of ours.
    DefaultRoute(ContainerId, CenId),
    /// Deletes an interface of ours that nothing needs, by its name, on the host or inside a container.
    Stray(Option<ContainerId>, String),
}

impl Operation {
    /// The CENs that the step is for.
    #[must_use]
    pub fn cen(&self) -> Option<&CenId> {
        match self {
            Self::BridgeUp(cen)
            | Self::BridgeDown(cen)
            | Self::BridgeAddress(cen, _)
            | Self::BridgeAddressDown(cen, _)
            | Self::DefaultRoute(_, cen) => Some(cen),
            Self::WireUp(wire) | Self::WireFix(wire) | Self::WireDown(wire) => Some(wire.cen()),
            Self::TrunkUp(trunk) | Self::TrunkDown(trunk) => Some(&trunk.cen),
            Self::ContainerAddress(addressing) | Self::ContainerAddressDown(addressing) => {
                Some(&addressing.cen)
            }
            Self::NetnsLink(_) | Self::Stray(..) => None,
        }
    }

    /// The containers whose traffic the step interrupts.
    #[must_use]
    pub fn interrupts(&self) -> Vec<&ContainerId> {
        match self {
            Self::WireDown(wire) => wire.containers().collect(),
            Self::ContainerAddressDown(addressing) => vec![&addressing.container],
            Self::Stray(Some(container), _) => vec![container],
            _ => Vec::new(),
        }
    }

    /// Whether the step asks for nothing but a look.
    #[must_use]
    pub fn is_look(&self) -> bool {
        matches!(self, Self::NetnsLink(_))
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BridgeUp(cen) => write!(f, "make bridge {cen}"),
            Self::BridgeDown(cen) => write!(f, "delete bridge {cen}"),
            Self::NetnsLink(container) => write!(f, "find the network namespace of {container}"),
            Self::WireUp(wire) => write!(f, "make wire {}", Pair(wire)),
            Self::WireFix(wire) => write!(f, "repair wire {}", Pair(wire)),
            Self::WireDown(wire) => write!(f, "delete wire {}", Pair(wire)),
            Self::BridgeAddress(cen, b) => write!(f, "add address 10.{b}.0.1/16 to bridge {cen}"),
            Self::BridgeAddressDown(cen, b) => {
                write!(f, "remove address 10.{b}.0.1/16 from bridge {cen}")
            }
            Self::TrunkUp(t) => write!(f, "join bridge {} to {} for CIN {}", t.cen, t.first, t.cin),
            Self::TrunkDown(t) => {
                write!(f, "part bridge {} from {} of CIN {}", t.cen, t.first, t.cin)
            }
            Self::ContainerAddress(a) => {
                write!(f, "add address {} to {} on {}", a.ip, a.container, a.cen)
            }
            Self::ContainerAddressDown(a) => {
                write!(f, "remove address {} from {} on {}", a.ip, a.container, a.cen)
            }
            Self::DefaultRoute(container, cen) => {
                write!(f, "set the default route of {container} to {cen}")
            }
            Self::Stray(None, name) => write!(f, "delete interface {name}, which nothing needs"),
            Self::Stray(Some(container), name) => {
                write!(f, "delete interface {name} of {container}, which nothing needs")
            }
        }
    }
}

struct Pair<'w>(&'w Wire);

impl fmt::Display for Pair<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b] = self.0.ends();
        write!(f, "{a} - {b} of CEN {}", self.0.cen())
    }
}
