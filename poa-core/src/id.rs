//! Who sent a message, and which message it is.

use std::fmt;
use std::sync::Arc;

use crate::Timestamp;

/// The longest agent id, in bytes.
const MAX_AGENT_ID: usize = 256;

/// The id of an agent: non-empty UTF-8 of at most 256 bytes, without control characters.
///
/// Cloning is cheap: clones share one allocation.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentId(Arc<str>);

impl AgentId {
    /// Checks and wraps an agent id.
    ///
    /// # Errors
    /// When the id is empty, longer than 256 bytes, or holds a control character.
    pub fn new(id: impl AsRef<str> + Into<Arc<str>>) -> Result<Self, InvalidAgentId> {
        let text = id.as_ref();
        if text.is_empty() {
            Err(InvalidAgentId::Empty)
        } else if text.len() > MAX_AGENT_ID {
            Err(InvalidAgentId::TooLong(text.len()))
        } else if text.chars().any(char::is_control) {
            Err(InvalidAgentId::ControlCharacter)
        } else {
            Ok(Self(id.into()))
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for AgentId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a text is no agent id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidAgentId {
    /// The text is empty.
    #[error("an agent id must not be empty")]
    Empty,
    /// The text has this many bytes, more than 256.
    #[error("an agent id has at most {MAX_AGENT_ID} bytes, this one has {0}")]
    TooLong(usize),
    /// The text holds a control character.
    #[error("an agent id must not hold control characters")]
    ControlCharacter,
}

/// The id of a message: unique, and sorting by the time the host received it.
///
/// It has the form of a UUID version 7 and displays as one. Receivers use it to store a message once, however often it
/// is delivered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId([u8; 16]);

impl MessageId {
    /// An id from its 16 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes of the id, which sort as the ids do.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_bytes(self.0).hyphenated().fmt(f)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Makes the ids of one bus: strictly increasing, and distinct from those of any other bus.
///
/// The 74 bits a UUID version 7 leaves free hold a counter (30 bits, restarted each millisecond) and a random number
/// drawn once per bus (44 bits).
#[derive(Debug)]
pub(crate) struct IdGenerator {
    millis: u64,
    counter: u32,
    node: u64,
}

const COUNTER_BITS: u32 = 30;

impl IdGenerator {
    pub(crate) fn new() -> Self {
        let random = uuid::Uuid::new_v4().as_u128();
        Self { millis: 0, counter: 0, node: (random as u64) & ((1 << 44) - 1) }
    }

    /// The next id, for a message received at `now`.
    pub(crate) fn next(&mut self, now: Timestamp) -> MessageId {
        let millis = now.as_micros() / 1000;
        // A clock that stands or steps back must not break the order.
        if millis > self.millis {
            self.millis = millis;
            self.counter = 0;
        } else if self.counter + 1 < 1 << COUNTER_BITS {
            self.counter += 1;
        } else {
            self.millis += 1;
            self.counter = 0;
        }
        MessageId(self.layout().into_bytes())
    }

    fn layout(&self) -> uuid::Uuid {
        let free = (u128::from(self.counter) << 44) | u128::from(self.node);
        // The 62 bits below the variant, and the 12 above it that share a byte pair with the version.
        let low = (free as u64) & ((1 << 62) - 1);
        let high = (free >> 62) as u16;
        let mut bytes = [0; 10];
        bytes[..2].copy_from_slice(&high.to_be_bytes());
        bytes[2..].copy_from_slice(&low.to_be_bytes());
        uuid::Builder::from_unix_timestamp_millis(self.millis, &bytes).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_no_agent_id() {
        assert_eq!(AgentId::new(""), Err(InvalidAgentId::Empty));
        assert_eq!(AgentId::new("a\u{7f}b"), Err(InvalidAgentId::ControlCharacter));
        assert_eq!(AgentId::new("é".repeat(129)), Err(InvalidAgentId::TooLong(258)));
        assert!(AgentId::new("é".repeat(128)).is_ok());
    }

    #[test]
    fn ids_increase_even_when_the_clock_does_not() {
        let mut ids = IdGenerator::new();
        let times = [5_000_000, 5_000_000, 4_000_000, 5_000_500, 5_001_000, 1];
        let made: Vec<_> = times.iter().map(|t| ids.next(Timestamp::from_micros(*t))).collect();
        assert!(made.windows(2).all(|pair| pair[0] < pair[1]), "{made:?}");
    }

    #[test]
    fn an_exhausted_counter_borrows_from_the_clock() {
        let mut ids = IdGenerator::new();
        let before = ids.next(Timestamp::from_micros(1_000));
        ids.counter = (1 << COUNTER_BITS) - 1;
        let after = ids.next(Timestamp::from_micros(1_000));
        assert!(before < after);
        assert_eq!(ids.millis, 2);
    }

    #[test]
    fn ids_are_uuids_of_version_7() {
        let id = IdGenerator::new().next(Timestamp::from_micros(1_700_000_000_000_000));
        let uuid: uuid::Uuid = id.to_string().parse().unwrap();
        assert_eq!(uuid.get_version_num(), 7);
        assert_eq!(uuid.get_timestamp().unwrap().to_unix().0, 1_700_000_000);
    }
}
