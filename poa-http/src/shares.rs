//! Divides the memory for bodies among users and addresses.
//!
//! The bodies of all requests share one budget. Without shares, a client that sends large bodies and never completes them would hold
//! all of it, and all others would be refused. A share is not fixed: a sender may hold as much as is still free (dynamic thresholds,
//! Choudhury and Hahne, 1998). A single sender gets half of the pool, two get a third each, and a part always stays free.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;
use poa_core::config::Size;
use poa_core::{BuildContext, MemoryBudget, Reservation};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The default memory that bodies of more than a few kilobytes may take together.
const POOL: u64 = 128 << 20;

/// Limits on the memory of one user or one address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct ShareLimits {
    /// The most memory for bodies that are being received or decoded. Even without a limit, one sender never gets more than is still
    /// free, so at most half of the pool.
    pub memory: Option<Size>,
}

/// Divides the memory for bodies among users and addresses. A resource of a host; clones share the accounts.
///
/// A request is charged to its user once known, and to its address until then. Bodies of at most 4 KiB that arrive whole are not
/// charged.
#[derive(Clone, Debug)]
pub struct Shares(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pool: u64,
    user: ShareLimits,
    address: ShareLimits,
    accounts: Mutex<Accounts>,
}

#[derive(Debug, Default)]
struct Accounts {
    held: HashMap<Owner, u64>,
    total: u64,
}

/// The user or address that memory is charged to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Owner {
    User(Arc<str>),
    Address(IpAddr),
}

impl Owner {
    /// The owner of bodies from this address. A customer with one IPv6 address usually has all of its /64.
    pub(crate) fn of(peer: IpAddr) -> Self {
        Self::Address(network(peer))
    }
}

/// The address that identifies a client: the first 64 bits for IPv6.
#[must_use]
pub fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(v6) => {
            let prefix = u128::from(v6) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(prefix))
        }
        v4 => v4,
    }
}

impl Default for Shares {
    /// A pool of 128 MiB, without further limits.
    fn default() -> Self {
        Self::new(POOL, ShareLimits::default(), ShareLimits::default())
    }
}

impl Shares {
    /// A pool of this many bytes, with these limits for each user and each address.
    #[must_use]
    pub fn new(pool: u64, user: ShareLimits, address: ShareLimits) -> Self {
        Self(Arc::new(Inner { pool, user, address, accounts: Mutex::default() }))
    }

    /// The shares of the host that builds a plugin, or new ones.
    pub(crate) fn of(cx: &BuildContext) -> Self {
        cx.resource::<Self>().cloned().unwrap_or_default()
    }

    /// The bytes in all accounts now.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.0.accounts.lock().total
    }

    /// Charges the owner; returns false if that exceeds its share.
    fn charge(&self, owner: &Owner, bytes: u64) -> bool {
        if bytes == 0 {
            return true;
        }
        let limits = match owner {
            Owner::User(_) => &self.0.user,
            Owner::Address(_) => &self.0.address,
        };
        let most = limits.memory.map_or(u64::MAX, Size::get);
        let mut accounts = self.0.accounts.lock();
        let free = self.0.pool.saturating_sub(accounts.total);
        let held = accounts.held.get(owner).copied().unwrap_or(0).saturating_add(bytes);
        if held > free.min(most) {
            return false;
        }
        accounts.total += bytes;
        accounts.held.insert(owner.clone(), held);
        true
    }

    fn give_back(&self, owner: &Owner, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let mut accounts = self.0.accounts.lock();
        accounts.total -= bytes;
        if let Entry::Occupied(mut entry) = accounts.held.entry(owner.clone()) {
            *entry.get_mut() -= bytes;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

/// The reason why there is no memory for a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// All senders together hold as much as they may.
    Host,
    /// The owner holds more than its share.
    Share,
}

/// The memory of one body: its part of the budget of the host, and of the share of its owner.
#[derive(Debug)]
pub(crate) struct Room {
    reservation: Reservation,
    account: Option<(Shares, Owner, u64)>,
}

impl Room {
    /// Memory that is charged to the budget only.
    pub(crate) fn new(memory: &MemoryBudget) -> Self {
        Self { reservation: memory.reservation(), account: None }
    }

    /// From now on, memory is charged to this owner as well, including `bytes` that were reserved before.
    pub(crate) fn charge_to(
        &mut self,
        shares: &Shares,
        owner: Owner,
        bytes: u64,
    ) -> Result<(), NoRoom> {
        if !shares.charge(&owner, bytes) {
            return Err(NoRoom::Share);
        }
        self.account = Some((shares.clone(), owner, bytes));
        Ok(())
    }

    /// Reserves this much more, or nothing.
    pub(crate) fn grow(&mut self, bytes: u64) -> Result<(), NoRoom> {
        if let Some((shares, owner, held)) = &mut self.account {
            if !shares.charge(owner, bytes) {
                return Err(NoRoom::Share);
            }
            // Returned on drop, even if the budget of the host is exhausted.
            *held += bytes;
        }
        if self.reservation.grow(bytes) { Ok(()) } else { Err(NoRoom::Host) }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some((shares, owner, bytes)) = self.account.take() {
            shares.give_back(&owner, bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> Owner {
        Owner::User(name.into())
    }

    fn room(shares: &Shares, owner: Owner) -> Room {
        let mut room = Room::new(&MemoryBudget::new(1 << 40));
        room.charge_to(shares, owner, 0).unwrap();
        room
    }

    /// The memory of an owner that takes as much as it can, in steps of one byte.
    fn greed(room: &mut Room) -> u64 {
        (0..).take_while(|_| room.grow(1).is_ok()).count() as u64
    }

    #[test]
    fn a_single_sender_gets_half_and_each_further_one_a_part_of_the_rest() {
        let shares = Shares::new(1200, ShareLimits::default(), ShareLimits::default());
        let mut one = room(&shares, user("one"));
        assert_eq!(greed(&mut one), 600);
        let mut two = room(&shares, user("two"));
        assert_eq!(greed(&mut two), 300);
        let mut again = room(&shares, user("one"));
        assert_eq!(again.grow(1), Err(NoRoom::Share));
        drop(one);
        assert!(again.grow(300).is_ok());
        drop((two, again));
        assert_eq!(shares.held(), 0);
        assert!(shares.0.accounts.lock().held.is_empty());
    }

    #[test]
    fn a_limit_applies_only_to_its_kind() {
        let limits = ShareLimits { memory: Some(Size::bytes(10)) };
        let shares = Shares::new(1200, limits, ShareLimits::default());
        assert_eq!(greed(&mut room(&shares, user("one"))), 10);
        let address = Owner::of([127, 0, 0, 1].into());
        assert_eq!(greed(&mut room(&shares, address)), 600);
    }

    #[test]
    fn the_budget_of_the_host_applies_as_well_and_nothing_leaks() {
        let shares = Shares::default();
        let memory = MemoryBudget::new(100);
        let mut room = Room::new(&memory);
        room.charge_to(&shares, user("one"), 0).unwrap();
        assert!(room.grow(60).is_ok());
        assert_eq!(room.grow(60), Err(NoRoom::Host));
        drop(room);
        assert_eq!((shares.held(), memory.used()), (0, 0));
    }

    #[test]
    fn addresses_are_distinguished_as_they_are_assigned() {
        let ip = |text: &str| network(text.parse().unwrap());
        assert_ne!(ip("192.0.2.1"), ip("192.0.2.2"));
        assert_eq!(ip("::ffff:192.0.2.1"), ip("192.0.2.1"));
        assert_eq!(ip("2001:db8::1"), ip("2001:db8::ffff:1"));
        assert_ne!(ip("2001:db8::1"), ip("2001:db8:0:1::1"));
    }
}
