//! CINs: addresses over CENs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::{LastError, Model, Status, WireType};
use crate::document::CinDocument;
use crate::number::{IP_B, bridge_address, container_address, smallest_free};
use crate::wire::EndId;
use crate::{CenId, CinId, Code, ContainerId, Error};

/// A CIN: IPv4 addresses over one CEN, or several that it joins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cin {
    pub(crate) cens: Vec<CenId>,
    pub(crate) ip_b: u8,
    /// The number that makes the address of each member that had an interface once.
    pub(crate) numbers: BTreeMap<ContainerId, u32>,
    pub(crate) status: Status,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_error: Option<LastError>,
}

impl Cin {
    /// The CENs it covers; the bridge of the first has its gateway address.
    #[must_use]
    pub fn cens(&self) -> &[CenId] {
        &self.cens
    }

    /// The second octet of its network, `10.<ip_b>.0.0/16`.
    #[must_use]
    pub fn ip_b(&self) -> u8 {
        self.ip_b
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

/// The address of a container in a CIN, and the interface that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerAddress {
    /// The container.
    pub container: ContainerId,
    /// The CEN whose interface has the address; also the name of that interface.
    pub cen: CenId,
    /// The in end of its wire.
    pub end: EndId,
    /// Its number in the CIN.
    pub n: u32,
    /// The address.
    pub ip: Ipv4Addr,
}

impl Model {
    /// Defines the CINs of a document, in ascending order of id. A known CIN over the same CENs is left alone. Octets in `taken` are
    /// skipped.
    ///
    /// # Errors
    /// `unknown_cen`, `cen_already_in_cin`, `ip_range_exhausted`; `busy` for a CIN whose CENs would change while it is on the host.
    /// The model is then to be discarded.
    pub fn import_cins(
        &mut self,
        document: &CinDocument,
        taken: &BTreeSet<u8>,
    ) -> Result<(), Error> {
        let named: BTreeSet<&CenId> = document.cins.values().flatten().collect();
        let named: Vec<String> = named.into_iter().map(ToString::to_string).collect();
        self.known_cens(&named)?;
        for (id, cens) in &document.cins {
            if self.cins.get(id).is_none_or(|known| known.cens != *cens) {
                self.define_cin(id, cens, taken)?;
            }
        }
        Ok(())
    }

    fn define_cin(
        &mut self,
        id: &CinId,
        cens: &[CenId],
        taken: &BTreeSet<u8>,
    ) -> Result<(), Error> {
        self.refuse_covered(id, cens)?;
        let known = self.cins.get(id);
        if let Some(known) = known
            && !matches!(known.status, Status::Pending | Status::Failed)
        {
            let why =
                format!("CIN {id} is {}; destroy it before its CENs change", known.status.as_str());
            return Err(Error::new(Code::Busy, why).with_details([id]));
        }
        let (ip_b, numbers) = match known {
            Some(known) => (known.ip_b, known.numbers.clone()),
            None => (self.take_ip_b(taken)?, BTreeMap::new()),
        };
        let (status, last_error) = (Status::Pending, None);
        let cin = Cin { cens: cens.to_vec(), ip_b, numbers, status, last_error };
        self.cins.insert(id.clone(), cin);
        self.drop_strangers(id);
        self.number_members(id)
    }

    fn refuse_covered(&self, id: &CinId, cens: &[CenId]) -> Result<(), Error> {
        for cen in cens {
            if let Some(other) = self.cin_over(cen).filter(|other| *other != id) {
                let why = format!("CEN {cen} is in CIN {other} already");
                return Err(Error::new(Code::CenAlreadyInCin, why).with_details([cen]));
            }
        }
        Ok(())
    }

    /// The next second octet: each is used once, until all were; then those of deleted CINs come back.
    fn take_ip_b(&mut self, taken: &BTreeSet<u8>) -> Result<u8, Error> {
        let in_use: BTreeSet<u8> = self.cins.values().map(|cin| cin.ip_b).collect();
        let from_next = (self.next_ip_b..=*IP_B.end()).chain(*IP_B.start()..self.next_ip_b);
        let free = from_next.into_iter().find(|b| !in_use.contains(b) && !taken.contains(b));
        let Some(ip_b) = free else {
            let why = "no network 10.B.0.0/16 with B from 10 to 250 is free; delete a CIN";
            return Err(Error::new(Code::IpRangeExhausted, why));
        };
        for skipped in (self.next_ip_b..ip_b).filter(|b| taken.contains(b)) {
            tracing::warn!(
                "network 10.{skipped}.0.0/16 is skipped: the host has an address or a route in it"
            );
        }
        self.next_ip_b = ip_b.saturating_add(1);
        Ok(ip_b)
    }

    /// Removes a CIN that is not on the host.
    ///
    /// # Errors
    /// `unknown_cin`.
    pub fn remove_cin(&mut self, id: &CinId) -> Result<(), Error> {
        self.cin(id.as_str())?;
        self.cins.remove(id);
        Ok(())
    }

    /// The members of all CENs of a CIN, each once: those with a number in its order, then the others in descending order of id.
    #[must_use]
    pub fn cin_members(&self, id: &CinId) -> Vec<ContainerId> {
        let Some(cin) = self.cins.get(id) else { return Vec::new() };
        let mut members: Vec<ContainerId> =
            self.members_of(cin).into_iter().rev().cloned().collect();
        members.sort_by_key(|member| cin.numbers.get(member).copied().unwrap_or(u32::MAX));
        members
    }

    /// The addresses of a CIN, by number. A member without an interface has none.
    #[must_use]
    pub fn addresses(&self, id: &CinId) -> Vec<ContainerAddress> {
        let Some(cin) = self.cins.get(id) else { return Vec::new() };
        let members = self.members_of(cin).into_iter();
        let mut addresses: Vec<_> =
            members.filter_map(|member| self.address_in(cin, member)).collect();
        addresses.sort_by_key(|address| address.n);
        addresses
    }

    fn address_in(&self, cin: &Cin, member: &ContainerId) -> Option<ContainerAddress> {
        let n = *cin.numbers.get(member)?;
        let container = self.containers.get(member)?;
        let mut joined = cin.cens.iter().filter(|cen| self.has_wires(cen));
        let cen = joined.find(|cen| container.cens.contains(cen))?;
        Some(ContainerAddress {
            container: member.clone(),
            cen: cen.clone(),
            end: EndId::inside(member, container.number_in(cen)?),
            n,
            ip: container_address(cin.ip_b, n).ok()?,
        })
    }

    /// The address of the bridge of a CEN in a CIN: that of the first CEN only, and only if it is a bridge.
    #[must_use]
    pub fn gateway(&self, cin: &CinId, cen: &CenId) -> Option<Ipv4Addr> {
        let known = self.cins.get(cin)?;
        let first = known.cens.first() == Some(cen);
        let is_bridge = self.wire_type(cen) == Some(WireType::Bus);
        (first && is_bridge).then(|| bridge_address(known.ip_b))
    }

    /// The CIN that owns the default route of a container among those for which `counts` holds: that of the smallest second octet, unless
    /// the container prefers another.
    pub(crate) fn default_owner(
        &self,
        container: &ContainerId,
        counts: impl Fn(&CinId) -> bool,
    ) -> Option<CenId> {
        let known = self.containers.get(container)?;
        let candidates = self.cins.iter().filter(|(id, _)| counts(id));
        let mut owners: Vec<(u8, CenId)> = candidates
            .filter_map(|(_, cin)| Some((cin.ip_b, self.address_in(cin, container)?.cen)))
            .collect();
        owners.sort();
        let preferred = known.default_route.as_ref();
        let preferred = owners.iter().find(|(_, cen)| Some(cen) == preferred);
        preferred.or(owners.first()).map(|(_, cen)| cen.clone())
    }

    fn members_of<'m>(&'m self, cin: &Cin) -> BTreeSet<&'m ContainerId> {
        cin.cens.iter().filter_map(|cen| self.cens.get(cen)).flat_map(|cen| &cen.members).collect()
    }

    /// Numbers the members of the CIN over `cen` that got an interface.
    pub(super) fn number_members_over(&mut self, cen: &CenId) -> Result<(), Error> {
        match self.cin_over(cen).cloned() {
            Some(cin) => self.number_members(&cin),
            None => Ok(()),
        }
    }

    /// The first numbers go in descending order of container id; later ones to the smallest that is free, in membership order.
    fn number_members(&mut self, id: &CinId) -> Result<(), Error> {
        let Some(cin) = self.cins.get(id) else { return Ok(()) };
        let wired = cin.cens.iter().filter(|cen| self.has_wires(cen));
        let wired = wired.filter_map(|cen| self.cens.get(cen)).flat_map(|cen| &cen.members);
        let fresh = wired.filter(|member| !cin.numbers.contains_key(*member)).cloned();
        let mut fresh: Vec<ContainerId> = fresh.collect();
        if cin.numbers.is_empty() {
            fresh.sort_by(|a, b| b.cmp(a));
        }
        fresh.dedup();
        let (ip_b, mut numbers) = (cin.ip_b, cin.numbers.clone());
        for member in fresh {
            if !numbers.contains_key(&member) {
                let n = smallest_free(numbers.values().copied());
                container_address(ip_b, n)?;
                numbers.insert(member, n);
            }
        }
        self.cin_mut(id)?.numbers = numbers;
        Ok(())
    }

    /// Frees the number of a container that left `cen`, unless another CEN of the same CIN has it.
    pub(super) fn free_number_over(&mut self, cen: &CenId, container: &ContainerId) {
        let Some(id) = self.cin_over(cen).cloned() else { return };
        let still = self.cins[&id].cens.iter().filter(|other| *other != cen);
        let mut still = still.filter_map(|other| self.cens.get(other));
        if !still.any(|other| other.members.contains(container))
            && let Some(cin) = self.cins.get_mut(&id)
        {
            cin.numbers.remove(container);
        }
    }

    /// Gives the members of a CIN the numbers that they had in an earlier model.
    pub(super) fn restore_numbers(&mut self, earlier: &Self, id: &CinId) {
        let Some(known) = earlier.cins.get(id) else { return };
        if let Some(cin) = self.cins.get_mut(id) {
            cin.numbers.clone_from(&known.numbers);
        }
        self.drop_strangers(id);
        // They fit before, and there are no more of them.
        let _ = self.number_members(id);
    }

    fn drop_strangers(&mut self, id: &CinId) {
        let members: BTreeSet<ContainerId> = self.cin_members(id).into_iter().collect();
        if let Some(cin) = self.cins.get_mut(id) {
            cin.numbers.retain(|container, _| members.contains(container));
        }
    }
}
