//! Validated identifiers. Whatever reaches the host passed through here.

use std::borrow::Borrow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Code, Error};

/// The longest name of a network interface, in bytes (`IFNAMSIZ` less the terminating zero).
pub const MAX_INTERFACE_NAME: usize = 15;
const MAX_CONTAINER: usize = 128;
const MAX_CIN: usize = 64;

/// CEN ids that name something else: to the kernel, or in the paths of the REST interface.
const RESERVED_CEN: [&str; 8] = ["lo", ".", "..", "all", "default", "import", "make", "destroy"];
const RESERVED_CIN: [&str; 3] = ["import", "make", "destroy"];

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $what:literal, $longest:expr, $reserved:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks and wraps an identifier.
            ///
            /// # Errors
            /// `invalid_identifier`, `name_too_long` or `reserved_name`, naming the identifier.
            pub fn new(text: impl AsRef<str>) -> Result<Self, Error> {
                check($what, text.as_ref(), $longest, $reserved)?;
                Ok(Self(text.as_ref().into()))
            }

            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self, Error> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.into()
            }
        }
    };
}

identifier! {
    /// Names a CEN, its bridge and the interfaces of its members: at most 15 bytes of `[A-Za-z0-9_.-]`, the first a letter or digit.
    CenId, "CEN id", MAX_INTERFACE_NAME, &RESERVED_CEN
}
identifier! {
    /// Names a CIN: at most 64 bytes of `[A-Za-z0-9_.-]`, the first a letter or digit.
    CinId, "CIN id", MAX_CIN, &RESERVED_CIN
}
identifier! {
    /// Names a container: at most 128 bytes of `[A-Za-z0-9_.-]`, the first a letter or digit (the rule of Docker).
    ContainerId, "container id", MAX_CONTAINER, &[]
}

fn check(what: &str, text: &str, longest: usize, reserved: &[&str]) -> Result<(), Error> {
    let refuse = |code, why: String| {
        Err(Error::new(code, format!("{what} {text:?} {why}")).with_details([text]))
    };
    if reserved.contains(&text) {
        return refuse(Code::ReservedName, "is reserved; choose another".to_owned());
    }
    let well_formed = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        && text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
    if !well_formed {
        let why = "must begin with a letter or digit and have only letters, digits and `_.-`";
        return refuse(Code::InvalidIdentifier, why.to_owned());
    }
    if text.len() > longest {
        return refuse(Code::NameTooLong, format!("is longer than {longest} bytes"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code<T>(result: Result<T, Error>) -> Option<Code> {
        result.err().map(|error| error.code())
    }

    #[test]
    fn names_fit_an_interface() {
        assert_eq!(code(CenId::new("abcdefghijklmno")), None);
        assert_eq!(code(CenId::new("abcdefghijklmnop")), Some(Code::NameTooLong));
        for reserved in RESERVED_CEN {
            assert_eq!(code(CenId::new(reserved)), Some(Code::ReservedName), "{reserved}");
        }
    }

    #[test]
    fn nothing_reaches_a_shell_or_a_path() {
        for bad in ["", "x;id", "a/b", "a b", "a%d", "-x", ".x", "é", "a:b", "a\n"] {
            assert_eq!(code(ContainerId::new(bad)), Some(Code::InvalidIdentifier), "{bad:?}");
            assert_eq!(code(CenId::new(bad)), Some(Code::InvalidIdentifier), "{bad:?}");
        }
        assert_eq!(code(ContainerId::new("c0ffee000001")), None);
        assert_eq!(code(ContainerId::new("a".repeat(129))), Some(Code::NameTooLong));
        assert_eq!(code(CinId::new("make")), Some(Code::ReservedName));
    }

    #[test]
    fn serde_checks_as_well() {
        assert!(serde_json::from_str::<CenId>("\"x;id\"").is_err());
        assert_eq!(serde_json::to_string(&CenId::new("cen1").unwrap()).unwrap(), "\"cen1\"");
    }
}
