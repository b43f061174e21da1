use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{Duration, Size};

/// How many messages a receiver gets at once, and how long the first of them waits for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct BatchLimits {
    /// The most messages in a batch.
    #[schemars(range(min = 1))]
    pub size: usize,
    /// The most bytes in a batch; a larger message is a batch of its own.
    pub bytes: Size,
    /// How long a batch that is not full waits for more.
    pub linger: Duration,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { size: 1000, bytes: Size::bytes(4 << 20), linger: Duration::from_millis(20) }
    }
}

/// How far a receiver may fall behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Backlog {
    /// The most bytes that may wait for this receiver. If not set: with the log engine half of what is free on the disk at the
    /// start, with the memory engine 64 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<Size>,
    /// How long a message may wait for this receiver. If not set: for as long as it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Duration>,
    /// What happens when one of the two is reached.
    pub when_full: WhenFull,
}

impl Default for Backlog {
    fn default() -> Self {
        Self { max_bytes: None, max_age: None, when_full: WhenFull::Refuse }
    }
}

impl Backlog {
    /// What may wait in memory, if nothing else was said.
    const IN_MEMORY: Size = Size::bytes(64 << 20);

    /// The same with every bound set: `free` is what is free on the disk of the log, if there is one.
    pub(crate) fn resolved(self, free: Option<u64>) -> Self {
        let default = free.map_or(Self::IN_MEMORY, |free| Size::bytes(free / 2));
        Self { max_bytes: Some(self.max_bytes.unwrap_or(default)), ..self }
    }
}

/// What happens when the backlog of a receiver is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WhenFull {
    /// New messages are refused, so that the agents keep them, until the receiver has caught up.
    Refuse,
    /// This receiver skips its oldest messages, counted; the others are not affected.
    Skip,
    /// The oldest messages of this receiver become dead letters, to be replayed later; the others are not affected. New
    /// messages are refused only while dead letters cannot be kept as fast as they come.
    DeadLetter,
}
