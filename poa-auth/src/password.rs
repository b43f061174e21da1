//! Password hashes.

use argon2::password_hash::rand_core::OsRng;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, PasswordHash, Version};

/// The shortest password somebody may choose, in characters (protocol section 3).
const SHORTEST: usize = 8;

/// A password has fewer than 8 characters.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooShort;

pub(crate) fn check_length(password: &str) -> Result<(), TooShort> {
    if password.chars().count() < SHORTEST { Err(TooShort) } else { Ok(()) }
}

/// What a hash costs. Not public API: only tests and benchmarks change it.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashCost {
    memory_kib: u32,
    passes: u32,
}

impl Default for HashCost {
    /// 19 MiB, two passes, one lane: the first choice of the OWASP Password Storage Cheat Sheet for Argon2id.
    fn default() -> Self {
        Self { memory_kib: 19 * 1024, passes: 2 }
    }
}

impl HashCost {
    /// The cheapest there is. Safe for nothing but tests.
    #[doc(hidden)]
    #[must_use]
    pub const fn for_tests() -> Self {
        Self { memory_kib: 8, passes: 1 }
    }

    /// A hash of `password` with a fresh salt, in the PHC string format. Takes long: off the async threads only.
    pub(crate) fn hash(self, password: &str) -> Result<String, argon2::password_hash::Error> {
        let params = Params::new(self.memory_kib, self.passes, 1, None)?;
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let salt = SaltString::generate(&mut OsRng);
        Ok(argon.hash_password(password.as_bytes(), &salt)?.to_string())
    }

    /// A hash that no password is known for, and that costs as much to verify as any other.
    pub(crate) fn dummy(self) -> String {
        let (salt, hash) = ("A".repeat(22), "A".repeat(43));
        format!("$argon2id$v=19$m={},t={},p=1${salt}${hash}", self.memory_kib, self.passes)
    }
}

/// True when `hash` is one of `password`. Compares in constant time. Takes long: off the async threads only.
pub(crate) fn matches(hash: &str, password: &str) -> bool {
    PasswordHash::new(hash)
        .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verifies_what_it_hashed_and_nothing_else() {
        let hash = HashCost::for_tests().hash("contraseña").unwrap();
        assert!(matches(&hash, "contraseña"));
        assert!(!matches(&hash, "contrasena"));
        assert!(!matches("not a hash", "contraseña"));
        assert_ne!(hash, HashCost::for_tests().hash("contraseña").unwrap());
    }

    #[test]
    fn the_length_counts_characters() {
        assert_eq!(check_length("ééééééé"), Err(TooShort));
        assert_eq!(check_length("éééééééé"), Ok(()));
    }

    #[test]
    fn costs_what_owasp_asks_for() {
        let hash = HashCost::default().hash("password").unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    }

    #[test]
    fn the_dummy_is_a_hash_of_the_same_cost() {
        let dummy = HashCost::for_tests().dummy();
        let parsed = PasswordHash::new(&dummy).unwrap();
        let real = HashCost::for_tests().hash("x").unwrap();
        let real = PasswordHash::new(&real).unwrap();
        assert_eq!(parsed.params, real.params);
        assert_eq!(parsed.hash.unwrap().len(), real.hash.unwrap().len());
        assert!(!matches(&dummy, ""));
    }
}
