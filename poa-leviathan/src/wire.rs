//! Wires: virtual Ethernet pairs, by the logical ids of their ends.

use std::fmt;

use crate::model::{Model, WireType};
use crate::{CenId, ContainerId};

/// A side of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Inside a container.
    In,
    /// On the host, in a bridge.
    Out,
}

/// The logical id of an end: `<container>.<number>i` or `<container>.<number>o`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndId {
    container: ContainerId,
    number: u16,
    side: Side,
}

impl EndId {
    /// The end inside a container.
    #[must_use]
    pub fn inside(container: &ContainerId, number: u16) -> Self {
        Self { container: container.clone(), number, side: Side::In }
    }

    /// The end on the host.
    #[must_use]
    pub fn outside(container: &ContainerId, number: u16) -> Self {
        Self { container: container.clone(), number, side: Side::Out }
    }

    /// The container whose interface this is, or leads to.
    #[must_use]
    pub fn container(&self) -> &ContainerId {
        &self.container
    }

    /// The number of that interface.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    /// The side.
    #[must_use]
    pub fn side(&self) -> Side {
        self.side
    }
}

impl fmt::Display for EndId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.side {
            Side::In => 'i',
            Side::Out => 'o',
        };
        write!(f, "{}.{}{side}", self.container, self.number)
    }
}

/// A wire of a CEN. The interface inside each container is called as the CEN.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wire {
    cen: CenId,
    ends: [EndId; 2],
}

impl Wire {
    /// The wire of a member to the bridge.
    #[must_use]
    pub fn bus(cen: &CenId, container: &ContainerId, number: u16) -> Self {
        let ends = [EndId::inside(container, number), EndId::outside(container, number)];
        Self { cen: cen.clone(), ends }
    }

    /// The wire that joins two members.
    #[must_use]
    pub fn direct(cen: &CenId, first: (&ContainerId, u16), second: (&ContainerId, u16)) -> Self {
        let ends = [EndId::inside(first.0, first.1), EndId::inside(second.0, second.1)];
        Self { cen: cen.clone(), ends }
    }

    /// The CEN it belongs to.
    #[must_use]
    pub fn cen(&self) -> &CenId {
        &self.cen
    }

    /// Its ends: in and out, or in and in.
    #[must_use]
    pub fn ends(&self) -> &[EndId; 2] {
        &self.ends
    }

    /// Whether it leads to the bridge.
    #[must_use]
    pub fn is_bus(&self) -> bool {
        self.ends[1].side == Side::Out
    }

    /// The containers it has an interface in.
    pub fn containers(&self) -> impl Iterator<Item = &ContainerId> {
        self.ends.iter().filter(|end| end.side == Side::In).map(|end| &end.container)
    }

    /// The identity of a wire: its pair of ends, in either order.
    pub(crate) fn key(&self) -> (EndId, EndId) {
        let [a, b] = self.ends.clone();
        if a <= b { (a, b) } else { (b, a) }
    }
}

/// The wires of a CEN, in membership order.
#[must_use]
pub fn wires_of(model: &Model, cen: &CenId) -> Vec<Wire> {
    let Some(definition) = model.cens().get(cen) else { return Vec::new() };
    let ends = definition.members().iter().filter_map(|member| {
        let number = model.containers().get(member)?.number_in(cen)?;
        Some((member, number))
    });
    let ends: Vec<_> = ends.collect();
    match (model.wire_type(cen), &*ends) {
        (Some(WireType::Wire), [first, second]) => vec![Wire::direct(cen, *first, *second)],
        (Some(WireType::Bus), [_, _, ..]) => {
            ends.iter().map(|(member, number)| Wire::bus(cen, member, *number)).collect()
        }
        _ => Vec::new(),
    }
}
