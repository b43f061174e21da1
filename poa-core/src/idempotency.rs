//! Recognises a message that is sent again.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;

use crate::AgentId;

/// The longest key a client may give, in bytes.
const MAX_KEY: usize = 255;

/// A digest of the idempotency key of a message. The same key of the same agent identifies the same message.
///
/// ```
/// use poa_core::{AgentId, IdempotencyKey, InvalidKey};
///
/// let (pump, valve) = (AgentId::new("pump-7").unwrap(), AgentId::new("valve-1").unwrap());
/// // A retry of the agent has the same key, so the message is accepted once; other agents may use the same text.
/// assert_eq!(IdempotencyKey::new(&pump, "42")?, IdempotencyKey::new(&pump, "42")?);
/// assert_ne!(IdempotencyKey::new(&pump, "42")?, IdempotencyKey::new(&valve, "42")?);
/// assert_eq!(IdempotencyKey::new(&pump, ""), Err(InvalidKey));
/// # Ok::<(), InvalidKey>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey([u8; 16]);

impl IdempotencyKey {
    /// The digest of a key that `agent` gave. Two agents never share one.
    ///
    /// # Errors
    /// When the key is empty, longer than 255 bytes, or holds a control character.
    pub fn new(agent: &AgentId, key: &str) -> Result<Self, InvalidKey> {
        if key.is_empty() || key.len() > MAX_KEY || key.chars().any(char::is_control) {
            return Err(InvalidKey);
        }
        Ok(Self::hash(agent, key, None))
    }

    /// The key of message `index` in a batch with one key.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn in_batch(agent: &AgentId, key: &str, index: usize) -> Result<Self, InvalidKey> {
        Self::new(agent, key).map(|_| Self::hash(agent, key, Some(index)))
    }

    /// The same key, given by this user: users who may send for the same agent do not share keys.
    #[must_use]
    pub fn of_user(self, user: &str) -> Self {
        let namespace = uuid::Uuid::from_bytes(self.0);
        Self(uuid::Uuid::new_v5(&namespace, user.as_bytes()).into_bytes())
    }

    /// Stored in the log, so it must never change.
    fn hash(agent: &AgentId, key: &str, index: Option<usize>) -> Self {
        let index = index.map(|index| index.to_string()).unwrap_or_default();
        // Neither an agent id nor a key holds a control character, so this is unambiguous.
        let text = format!("{agent}\0{key}\0{index}");
        Self(uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, text.as_bytes()).into_bytes())
    }

    /// A key from its bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes of the digest.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Distinguishes two messages with the same key and different content.
///
/// It is kept in memory only: after a restart it is computed from the log.
///
/// ```
/// use poa_core::engine::Fingerprint;
///
/// // The same key with the same content is a retry; with other content it is a mistake of the client.
/// let first = Fingerprint::of("readings", br#"{"bar":3.2}"#);
/// assert_eq!(first, Fingerprint::of("readings", br#"{"bar":3.2}"#));
/// assert_ne!(first, Fingerprint::of("readings", br#"{"bar":3.3}"#));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// The fingerprint of messages without an idempotency key, which need none.
    pub const NONE: Self = Self(0);

    /// The fingerprint of a message with this data type and payload. The same in every process and version: nodes of an engine
    /// compare them.
    #[must_use]
    pub fn of(data_type: &str, payload: &[u8]) -> Self {
        let mut hasher = SipHasher13::new();
        hasher.write(data_type.as_bytes());
        // No name contains this byte, so the boundary between the two parts is unambiguous.
        hasher.write_u8(0xff);
        hasher.write(payload);
        Self(hasher.finish())
    }

    /// The fingerprint as a number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

/// A text that is not a valid idempotency key.
///
/// See [`IdempotencyKey`] for an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an idempotency key has 1 to {MAX_KEY} bytes and no control characters")]
pub struct InvalidKey;

#[cfg(test)]
mod tests {
    use super::*;

    /// Nodes of different builds compare fingerprints.
    #[test]
    fn fingerprints_never_change() {
        assert_eq!(Fingerprint::of("a", b"{}").get(), Fingerprint::of("a", b"{}").get());
        assert_ne!(Fingerprint::of("a", b"{}"), Fingerprint::of("b", b"{}"));
    }

    #[test]
    fn keys_belong_to_their_agent_and_place() {
        let [one, two] = ["one", "two"].map(|name| AgentId::new(name).unwrap());
        let key = IdempotencyKey::new(&one, "k").unwrap();
        assert_eq!(key, IdempotencyKey::new(&one, "k").unwrap());
        assert_ne!(key, IdempotencyKey::new(&two, "k").unwrap());
        assert_ne!(key, IdempotencyKey::in_batch(&one, "k", 0).unwrap());
        assert_ne!(
            IdempotencyKey::in_batch(&one, "k", 1).unwrap(),
            IdempotencyKey::in_batch(&one, "k", 11).unwrap()
        );
        // The log must have the same meaning for the next version.
        assert_eq!(uuid::Uuid::from_bytes(key.0).get_version_num(), 5);
    }

    #[test]
    fn keys_belong_to_their_user() {
        let key = IdempotencyKey::new(&AgentId::new("one").unwrap(), "k").unwrap();
        assert_eq!(key.of_user("a"), key.of_user("a"));
        assert_ne!(key.of_user("a"), key.of_user("b"));
        assert_ne!(key.of_user("a"), key);
    }

    #[test]
    fn refuses_invalid_keys() {
        let agent = AgentId::new("a").unwrap();
        for key in ["", "a\nb", &"x".repeat(256)] {
            assert_eq!(IdempotencyKey::new(&agent, key), Err(InvalidKey), "{key}");
        }
    }
}
