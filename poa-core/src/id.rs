//! The ids of agents and messages.

use std::fmt;
use std::sync::Arc;

use crate::Timestamp;

/// The longest agent id, in bytes.
const MAX_AGENT_ID: usize = 256;

/// The id of an agent: non-empty UTF-8 of at most 256 bytes, without control characters.
///
/// Cloning is cheap: clones share one allocation.
///
/// ```
/// use std::collections::HashMap;
/// use poa_core::{AgentId, InvalidAgentId};
///
/// // Verified once, where it enters: no receiver meets an id that would break its log or its URL.
/// assert_eq!(AgentId::new("pump\n7"), Err(InvalidAgentId::ControlCharacter));
///
/// // A map by agent is searched by text, without allocating an id.
/// let latest = HashMap::from([(AgentId::new("pump-7")?, 21.5)]);
/// assert_eq!(latest.get("pump-7"), Some(&21.5));
/// # Ok::<(), InvalidAgentId>(())
/// ```
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
    #[inline]
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

/// The reason why a text is not a valid agent id.
///
/// See [`AgentId`] for an example.
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
/// It has the form of a UUID version 7 and displays as one. Receivers use it to store a message once, however often it is
/// delivered.
///
/// ```
/// use poa_core::Timestamp;
/// use poa_core::engine::IdGenerator;
///
/// let mut ids = IdGenerator::new();
/// let now = Timestamp::now();
/// let (first, second) = (ids.next(now), ids.next(now));
/// // A column of ids is unique, and sorts by time even within one microsecond.
/// assert!(first < second && first.to_string() < second.to_string());
/// assert_eq!(second.time(), now);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId([u8; 16]);

impl MessageId {
    /// An id from its 16 bytes.
    #[must_use]
    #[inline]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes of the id, which sort as the ids do.
    #[must_use]
    #[inline]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The time in the id. It is the time of receipt, or later if the clock of the host stood still or stepped back.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        let bits = u128::from_be_bytes(self.0);
        let millis = (bits >> 80) as u64;
        // Ten of the twelve bits below the version; the other two belong to the counter.
        let micros = ((bits >> 66) & 0x3ff) as u64;
        Timestamp::from_micros(millis * 1000 + micros)
    }

    /// How many messages of the same [`time`](Self::time) the host received before this one.
    #[must_use]
    pub fn sequence(&self) -> u32 {
        let bits = u128::from_be_bytes(self.0);
        let (high, low) = ((bits >> 64) & 0b11, (bits >> NODE_BITS) & 0x3_ffff);
        (high << 18 | low) as u32
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

/// Generates the ids of one bus: strictly increasing, and distinct from those of any other bus.
///
/// The 74 bits a UUID version 7 leaves free hold the microsecond (10 bits), a counter restarted each microsecond (20 bits) and a
/// random number drawn once per bus (44 bits).
///
/// ```
/// use poa_core::Timestamp;
/// use poa_core::engine::IdGenerator;
///
/// // After a restart an engine continues behind its last record, even if the clock was set back meanwhile.
/// let newest = Timestamp::from_micros(2_000_000);
/// let mut ids = IdGenerator::after(newest);
/// let now = Timestamp::from_micros(1_000_000);
/// assert!(ids.next(now).time() > newest);
/// ```
#[derive(Debug)]
pub struct IdGenerator {
    micros: u64,
    counter: u32,
    node: u64,
}

const COUNTER_BITS: u32 = 20;
const NODE_BITS: u32 = 44;

impl IdGenerator {
    /// A generator that starts now.
    #[must_use]
    pub fn new() -> Self {
        let random = uuid::Uuid::new_v4().as_u128();
        Self { micros: 0, counter: 0, node: (random as u64) & ((1 << NODE_BITS) - 1) }
    }

    /// Generates only ids after every id of this time: ids from before a restart may be ahead of a clock that has stepped back
    /// since.
    #[must_use]
    pub fn after(time: Timestamp) -> Self {
        Self { micros: time.as_micros().saturating_add(1), ..Self::new() }
    }

    /// The time of the last id.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        Timestamp::from_micros(self.micros)
    }

    /// The next id, for a message received at `now`.
    pub fn next(&mut self, now: Timestamp) -> MessageId {
        // A clock that stands still or steps back must not break the order.
        if now.as_micros() > self.micros {
            self.micros = now.as_micros();
            self.counter = 0;
        } else if self.counter + 1 < 1 << COUNTER_BITS {
            self.counter += 1;
        } else {
            self.micros += 1;
            self.counter = 0;
        }
        MessageId(self.layout().to_be_bytes())
    }

    /// The bits of a UUID version 7 (RFC 9562, section 5.7): 48 of milliseconds, 4 of the version, 12 that are free, 2 of the variant, and 62
    /// that are free.
    fn layout(&self) -> u128 {
        const VERSION: u64 = 7 << 12;
        const VARIANT: u64 = 0b10 << 62;
        let (millis, within) = (self.micros / 1000, self.micros % 1000);
        // The free bits hold 10 bits of microseconds, 20 of the counter and 44 of the node.
        let counter = u64::from(self.counter);
        let high = millis << 16 | VERSION | within << 2 | counter >> 18;
        let low = VARIANT | (counter & 0x3_ffff) << NODE_BITS | self.node;
        u128::from(high) << 64 | u128::from(low)
    }
}

impl Default for IdGenerator {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_invalid_agent_ids() {
        assert_eq!(AgentId::new(""), Err(InvalidAgentId::Empty));
        assert_eq!(AgentId::new("a\u{7f}b"), Err(InvalidAgentId::ControlCharacter));
        assert_eq!(AgentId::new("é".repeat(129)), Err(InvalidAgentId::TooLong(258)));
        assert!(AgentId::new("é".repeat(128)).is_ok());
    }

    #[test]
    fn ids_increase_even_when_the_clock_does_not() {
        let mut ids = IdGenerator::new();
        let times = [5_000_000, 5_000_000, 4_000_000, 5_000_999, 5_001_000, 1];
        let made: Vec<_> = times.iter().map(|t| ids.next(Timestamp::from_micros(*t))).collect();
        assert!(made.windows(2).all(|pair| pair[0] < pair[1]), "{made:?}");
        let said = made.iter().map(|id| (id.time().as_micros(), id.sequence()));
        let expected =
            [(5_000_000, 0), (5_000_000, 1), (5_000_000, 2), (5_000_999, 0), (5_001_000, 0)];
        assert_eq!(said.take(5).collect::<Vec<_>>(), expected);
        assert_eq!((made[5].time().as_micros(), made[5].sequence()), (5_001_000, 1));
    }

    #[test]
    fn ids_continue_after_earlier_ones() {
        let mut before = IdGenerator::new();
        let now = Timestamp::from_micros(5_000_000);
        let made = [before.next(now), before.next(now)];
        let next = IdGenerator::after(before.time()).next(Timestamp::from_micros(1_000_000));
        assert!(made.iter().all(|id| *id < next), "{made:?} {next:?}");
    }

    #[test]
    fn an_exhausted_counter_borrows_from_the_clock() {
        let mut ids = IdGenerator::new();
        let before = ids.next(Timestamp::from_micros(1_000));
        ids.counter = (1 << COUNTER_BITS) - 1;
        let after = ids.next(Timestamp::from_micros(1_000));
        assert!(before < after);
        assert_eq!((after.time().as_micros(), after.sequence()), (1_001, 0));
        ids.counter = (1 << COUNTER_BITS) - 2;
        assert_eq!(ids.next(Timestamp::from_micros(1)).sequence(), (1 << COUNTER_BITS) - 1);
    }

    #[test]
    fn ids_are_uuids_of_version_7() {
        let id = IdGenerator::new().next(Timestamp::from_micros(1_700_000_000_000_000));
        let uuid: uuid::Uuid = id.to_string().parse().unwrap();
        assert_eq!(uuid.get_version_num(), 7);
        assert_eq!(uuid.get_timestamp().unwrap().to_unix().0, 1_700_000_000);
    }
}
