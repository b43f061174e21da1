//! Numbers that make interface names and addresses.

use std::net::Ipv4Addr;

use crate::{Code, Error};

/// How many interface numbers a container has: 0 to 999.
pub const INTERFACE_NUMBERS: u16 = 1000;
/// The second octets that CINs may have.
pub const IP_B: std::ops::RangeInclusive<u8> = 10..=250;
/// The prefix length of the network of a CIN.
pub const CIN_PREFIX: u8 = 16;
/// The most containers of a CIN: 10.B.0.10 to 10.B.255.240.
pub const MAX_CONTAINER_NUMBER: u32 = 65_511;

/// The number of the next interface of a container that holds `taken`.
///
/// The candidate is how many numbers it holds; while that is taken, the next one, modulo 1000.
///
/// # Errors
/// `no_interface_number_left` when all 1000 are taken.
pub fn next_interface_number(taken: &[u16]) -> Result<u16, Error> {
    if taken.len() >= usize::from(INTERFACE_NUMBERS) {
        let why = format!("all {INTERFACE_NUMBERS} interface numbers of the container are in use");
        return Err(Error::new(Code::NoInterfaceNumberLeft, why));
    }
    let first = u16::try_from(taken.len()).unwrap_or_default();
    let candidates = (0..INTERFACE_NUMBERS).map(|step| (first + step) % INTERFACE_NUMBERS);
    let free = candidates.into_iter().find(|candidate| !taken.contains(candidate));
    free.ok_or_else(|| Error::internal("no interface number is free"))
}

/// The address of the `n`-th container of a CIN, counted from 1: `10.<ip_b>.<h div 256>.<h mod 256>` with h = n + 9.
///
/// # Errors
/// `ip_range_exhausted` for 0 and beyond [`MAX_CONTAINER_NUMBER`].
pub fn container_address(ip_b: u8, n: u32) -> Result<Ipv4Addr, Error> {
    if !(1..=MAX_CONTAINER_NUMBER).contains(&n) {
        let why = format!("container number {n} is outside 1 to {MAX_CONTAINER_NUMBER}");
        return Err(Error::new(Code::IpRangeExhausted, why));
    }
    let [_, _, high, low] = (n + 9).to_be_bytes();
    Ok(Ipv4Addr::new(10, ip_b, high, low))
}

/// The address of the bridge of the first CEN of a CIN.
#[must_use]
pub fn bridge_address(ip_b: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, ip_b, 0, 1)
}

/// The smallest number, from 1 on, that is not among `taken`.
pub(crate) fn smallest_free(taken: impl Iterator<Item = u32>) -> u32 {
    let taken: std::collections::BTreeSet<u32> = taken.collect();
    (1..).zip(&taken).find(|(n, held)| n != *held).map_or(taken.len() as u32 + 1, |(n, _)| n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_specification() {
        let all_but_zero: Vec<u16> = (1..INTERFACE_NUMBERS).collect();
        let table: [(&[u16], u16); 9] = [
            (&[], 0),
            (&[0], 1),
            (&[0, 1], 2),
            (&[1], 2),
            (&[0, 2], 3),
            (&[5], 1),
            (&[2, 3], 4),
            (&[1, 2], 3),
            (&all_but_zero, 0),
        ];
        for (taken, next) in table {
            assert_eq!(next_interface_number(taken).unwrap(), next, "{taken:?}");
        }
    }

    #[test]
    fn a_thousand_numbers_are_all() {
        let all: Vec<u16> = (0..INTERFACE_NUMBERS).collect();
        assert_eq!(next_interface_number(&all).unwrap_err().code(), Code::NoInterfaceNumberLeft);
    }

    #[test]
    fn the_smallest_free_number_fills_gaps() {
        assert_eq!(smallest_free([].into_iter()), 1);
        assert_eq!(smallest_free([1, 2, 3].into_iter()), 4);
        assert_eq!(smallest_free([3, 1].into_iter()), 2);
        assert_eq!(smallest_free([2].into_iter()), 1);
    }
}
