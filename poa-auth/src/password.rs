//! Password hashes, computed in reused memory.

use std::time::Duration;

use argon2::password_hash::rand_core::OsRng;
use argon2::password_hash::{Output, ParamsString, SaltString};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Block, Params, PasswordHash, Version};
use parking_lot::Mutex;
use tokio::time::Instant;

/// The shortest password a user may choose, in characters (protocol section 3).
const SHORTEST: usize = 8;

/// A buffer is allocated with room for this many blocks of 1 KiB, although a hash uses only 19 MiB of it. glibc takes blocks of up to 32 MiB
/// from heaps that it never releases (once one was freed); larger ones are mapped, and unmapped when they are freed. Untouched pages take no
/// memory.
const MAPPED: usize = 33 << 10;

/// Buffers that were not used for this long are freed.
const IDLE: Duration = Duration::from_secs(10);

/// A password has fewer than 8 characters.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooShort;

pub(crate) fn check_length(password: &str) -> Result<(), TooShort> {
    if password.chars().count() < SHORTEST { Err(TooShort) } else { Ok(()) }
}

/// The cost of a hash. Not public API: only tests and benchmarks change it.
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
    /// The lowest possible cost. Safe for tests only.
    #[doc(hidden)]
    #[must_use]
    pub const fn for_tests() -> Self {
        Self { memory_kib: 8, passes: 1 }
    }

    /// A hash without a known password that costs as much to verify as any other.
    pub(crate) fn dummy(self) -> String {
        dummy(self.memory_kib, self.passes, 1)
    }
}

/// A hash of this cost without a known password.
fn dummy(memory_kib: u32, passes: u32, lanes: u32) -> String {
    let (salt, hash) = ("A".repeat(22), "A".repeat(43));
    format!("$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${salt}${hash}")
}

/// A hash without a known password that costs as much to verify as this one. `None` if `hash` is not an Argon2 hash.
pub(crate) fn dummy_like(hash: &str) -> Option<String> {
    let params = Params::try_from(&PasswordHash::new(hash).ok()?).ok()?;
    Some(dummy(params.m_cost(), params.t_cost(), params.p_cost()))
}

type Buffer = Vec<Block>;

/// Computes hashes. There are as many buffers as concurrent hashes.
///
/// Allocating and freeing 19 MiB for each hash would cost a page fault for each of its 4,864 pages, and leave holes in the heap that some
/// allocators never release.
pub(crate) struct Hasher {
    cost: HashCost,
    buffers: Mutex<Buffers>,
}

struct Buffers {
    idle: Vec<Buffer>,
    used: Instant,
}

impl Hasher {
    pub(crate) fn new(cost: HashCost) -> Self {
        Self { cost, buffers: Mutex::new(Buffers { idle: Vec::new(), used: Instant::now() }) }
    }

    /// A hash of `password` with a fresh salt, in the PHC string format. Takes long: do not call it on async threads.
    pub(crate) fn hash(&self, password: &str) -> Result<String, argon2::password_hash::Error> {
        let params = Params::new(self.cost.memory_kib, self.cost.passes, 1, None)?;
        let salt = SaltString::generate(&mut OsRng);
        let mut bytes = [0; Params::DEFAULT_OUTPUT_LEN];
        let written = ParamsString::try_from(&params)?;
        let mut decoded = [0; 64];
        let raw = salt.as_salt().decode_b64(&mut decoded)?;
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        self.compute(&argon, password, raw, &mut bytes)?;
        let hash = PasswordHash {
            algorithm: ARGON2ID_IDENT,
            version: Some(Version::V0x13.into()),
            params: written,
            salt: Some(salt.as_salt()),
            hash: Some(Output::new(&bytes)?),
        };
        Ok(hash.to_string())
    }

    /// Whether `hash` is a hash of `password`. Compares in constant time. Takes long: do not call it on async threads.
    pub(crate) fn matches(&self, hash: &str, password: &str) -> bool {
        self.verify(hash, password).unwrap_or(false)
    }

    fn verify(&self, hash: &str, password: &str) -> Result<bool, argon2::password_hash::Error> {
        let hash = PasswordHash::new(hash)?;
        let (Some(salt), Some(expected)) = (hash.salt, hash.hash) else { return Ok(false) };
        let algorithm = Algorithm::try_from(hash.algorithm)?;
        let version = hash.version.map_or(Ok(Version::default()), Version::try_from)?;
        let argon = Argon2::new(algorithm, version, Params::try_from(&hash)?);
        let mut decoded = [0; 64];
        let salt = salt.decode_b64(&mut decoded)?;
        let mut bytes = [0; Output::MAX_LENGTH];
        let bytes = &mut bytes[..expected.len()];
        self.compute(&argon, password, salt, bytes)?;
        // `Output` compares in constant time.
        Ok(Output::new(bytes)? == expected)
    }

    fn compute(
        &self,
        argon: &Argon2<'_>,
        password: &str,
        salt: &[u8],
        bytes: &mut [u8],
    ) -> Result<(), argon2::Error> {
        let mut buffer = self.buffers.lock().idle.pop().unwrap_or_default();
        let blocks = argon.params().block_count();
        if buffer.len() < blocks {
            buffer.reserve_exact(blocks.max(MAPPED) - buffer.len());
            buffer.resize(blocks, Block::default());
        }
        let computed =
            argon.hash_password_into_with_memory(password.as_bytes(), salt, bytes, &mut buffer);
        let mut buffers = self.buffers.lock();
        buffers.used = Instant::now();
        buffers.idle.push(buffer);
        computed
    }

    /// Frees the buffers when no hash was computed for a while.
    pub(crate) fn free_idle(&self) {
        let mut buffers = self.buffers.lock();
        if buffers.used.elapsed() >= IDLE {
            buffers.idle = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::PasswordHasher as _;

    use super::*;

    fn hasher() -> Hasher {
        Hasher::new(HashCost::for_tests())
    }

    #[test]
    fn verifies_what_it_hashed_and_nothing_else() {
        let hasher = hasher();
        let hash = hasher.hash("contraseña").unwrap();
        assert!(hasher.matches(&hash, "contraseña"));
        assert!(!hasher.matches(&hash, "contrasena"));
        assert!(!hasher.matches("not a hash", "contraseña"));
        assert_ne!(hash, hasher.hash("contraseña").unwrap());
    }

    /// The remains of an earlier hash in the buffer have no effect, whatever the cost of the next one.
    #[test]
    fn a_used_buffer_gives_the_same_hashes_as_a_new_one() {
        let used = hasher();
        let costly = HashCost { memory_kib: 256, passes: 3 };
        for cost in [costly, HashCost::for_tests(), costly] {
            let params = Params::new(cost.memory_kib, cost.passes, 1, None).unwrap();
            let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
            let salt = SaltString::generate(&mut OsRng);
            let expected = argon.hash_password(b"password", &salt).unwrap().to_string();
            assert!(used.matches(&expected, "password"));
            assert!(!used.matches(&expected, "Password"));
        }
        assert_eq!(used.buffers.lock().idle.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn buffers_are_kept_while_they_are_used_and_freed_afterwards() {
        let hasher = hasher();
        hasher.hash("password").unwrap();
        hasher.free_idle();
        assert_eq!(hasher.buffers.lock().idle.len(), 1);
        tokio::time::advance(IDLE).await;
        hasher.free_idle();
        assert!(hasher.buffers.lock().idle.is_empty());
    }

    #[test]
    fn the_length_counts_characters() {
        assert_eq!(check_length("ééééééé"), Err(TooShort));
        assert_eq!(check_length("éééééééé"), Ok(()));
    }

    #[test]
    fn has_the_cost_that_owasp_recommends() {
        let hash = Hasher::new(HashCost::default()).hash("password").unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    }

    #[test]
    fn the_dummy_is_a_hash_of_the_same_cost() {
        let dummy = HashCost::for_tests().dummy();
        let real = hasher().hash("x").unwrap();
        assert_eq!(dummy_like(&real), Some(dummy.clone()));
        let (dummy, real) = (PasswordHash::new(&dummy).unwrap(), PasswordHash::new(&real).unwrap());
        assert_eq!(
            (dummy.params, dummy.hash.unwrap().len()),
            (real.params, real.hash.unwrap().len())
        );
        assert!(!hasher().matches(&HashCost::for_tests().dummy(), ""));
        assert_eq!(dummy_like("$2b$10$abc"), None);
    }
}
