//! Names, marks and addresses of the interfaces that are made: how they are told from those of others.

use std::fmt;
use std::str::FromStr;

use crate::id::MAX_INTERFACE_NAME;
use crate::{CenId, CinId, ContainerId};

/// The interface group of everything that is made, set in the very message that makes it. The kernel takes an alias only for an
/// interface that exists, so between the two messages this and the [`Mac`] are the mark.
pub const GROUP: u32 = 0x4c65_7669;

/// The purpose of an interface. Its text is the alias that proves whose it is: `leviathan:<cen>` for a bridge,
/// `leviathan:<cen>:<container>:<number>` for an end of a wire, `leviathan:<cin>:trunk:<cen>` for an end of a trunk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// The bridge of a CEN.
    Bridge(CenId),
    /// An end of a wire.
    Wire(CenId, ContainerId, u16),
    /// An end of the trunk that joins a further CEN of a CIN to its first.
    Trunk(CinId, CenId),
}

impl Purpose {
    /// Reads the alias of an interface of this name. The name decides where an alias is ambiguous.
    #[must_use]
    pub fn of_interface(name: &str, alias: &str) -> Option<Self> {
        if let ["leviathan", cin, "trunk", cen] = *alias.split(':').collect::<Vec<_>>()
            && name.starts_with("lt")
            && name.len() == MAX_INTERFACE_NAME
        {
            return Some(Self::Trunk(CinId::new(cin).ok()?, CenId::new(cen).ok()?));
        }
        alias.parse().ok()
    }

    /// The CEN it belongs to.
    #[must_use]
    pub fn cen(&self) -> &CenId {
        match self {
            Self::Bridge(cen) | Self::Wire(cen, ..) | Self::Trunk(_, cen) => cen,
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bridge(cen) => write!(f, "leviathan:{cen}"),
            Self::Wire(cen, container, number) => write!(f, "leviathan:{cen}:{container}:{number}"),
            Self::Trunk(cin, cen) => write!(f, "leviathan:{cin}:trunk:{cen}"),
        }
    }
}

impl FromStr for Purpose {
    type Err = ();

    fn from_str(alias: &str) -> Result<Self, ()> {
        let parts: Vec<&str> = alias.split(':').collect();
        let cen = |id: &str| CenId::new(id).map_err(drop);
        match *parts {
            ["leviathan", id] => Ok(Self::Bridge(cen(id)?)),
            // A container may be called `trunk`; then a number follows, which no CEN of a trunk is mistaken for: see `is_number`.
            ["leviathan", cin, "trunk", id] if !is_number(id) => {
                Ok(Self::Trunk(CinId::new(cin).map_err(drop)?, cen(id)?))
            }
            ["leviathan", id, container, number] => {
                let container = ContainerId::new(container).map_err(drop)?;
                Ok(Self::Wire(cen(id)?, container, number.parse().map_err(drop)?))
            }
            _ => Err(()),
        }
    }
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The hardware address of an interface that is made: `0a:4c` and 32 bits of a hash of its purpose and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mac(pub(crate) [u8; 6]);

impl Mac {
    /// The address of an end of an interface for `purpose`.
    #[must_use]
    pub fn of(host: &str, purpose: &Purpose, end: End) -> Self {
        let hash = hash(&[host, &purpose.to_string(), end.as_str()]).to_be_bytes();
        Self([0x0a, 0x4c, hash[0], hash[1], hash[2], hash[3]])
    }

    /// Whether an address is of the form that is given out.
    #[must_use]
    pub fn is_ours(address: &[u8]) -> bool {
        address.len() == 6 && address.starts_with(&[0x0a, 0x4c])
    }
}

/// An end of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum End {
    In,
    Out,
}

impl End {
    fn as_str(self) -> &'static str {
        match self {
            Self::In => "i",
            Self::Out => "o",
        }
    }
}

/// The name of the end of a wire that stays on the host: its logical id where that fits, else `lv`, 12 hexadecimal digits, `o`.
#[must_use]
pub fn out_name(host: &str, container: &ContainerId, number: u16) -> String {
    let logical = format!("{container}.{number}o");
    if logical.len() <= MAX_INTERFACE_NAME {
        return logical;
    }
    format!("lv{:012x}o", hash(&[host, container.as_str(), &number.to_string()]) >> 16)
}

/// The names of the two ends of a trunk, at the first CEN and at the further one.
#[must_use]
pub fn trunk_names(host: &str, cin: &CinId, cen: &CenId) -> [String; 2] {
    let hash = hash(&[host, "trunk", cin.as_str(), cen.as_str()]) >> 16;
    [format!("lt{hash:012x}a"), format!("lt{hash:012x}b")]
}

/// FNV-1a with 64 bits: stable over versions and machines, since names are found again by it.
fn hash(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(id: &str) -> ContainerId {
        ContainerId::new(id).unwrap()
    }

    #[test]
    fn names_fit_an_interface() {
        assert_eq!(out_name("host1", &container("c1"), 0), "c1.0o");
        assert_eq!(out_name("host1", &container("c0ffee000001"), 9), "c0ffee000001.9o");
        let hashed = out_name("host1", &container("c0ffee000001"), 10);
        assert_eq!(hashed.len(), MAX_INTERFACE_NAME);
        assert!(hashed.starts_with("lv") && hashed.ends_with('o'), "{hashed}");
        assert_ne!(hashed, out_name("host1", &container("c0ffee000001"), 11));
        let [a, b] = trunk_names("host1", &CinId::new("x").unwrap(), &CenId::new("y").unwrap());
        assert!(a.len() == MAX_INTERFACE_NAME && a != b);
    }

    #[test]
    fn an_alias_is_read_back() {
        let cen = CenId::new("cen1").unwrap();
        for purpose in [
            Purpose::Bridge(cen.clone()),
            Purpose::Wire(cen.clone(), container("c1"), 12),
            Purpose::Wire(cen.clone(), container("trunk"), 0),
            Purpose::Trunk(CinId::new("cin1").unwrap(), cen),
        ] {
            assert_eq!(purpose.to_string().parse(), Ok(purpose));
        }
    }

    #[test]
    fn an_alias_of_others_is_not() {
        for alias in
            ["", "leviathan", "leviathan:", "leviathan:a:b:x", "uplink", "leviathan:a:b:1:2"]
        {
            assert_eq!(alias.parse::<Purpose>(), Err(()), "{alias}");
        }
    }
}
