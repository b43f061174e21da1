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
    /// The most bytes that may wait for this receiver.
    pub max_bytes: Size,
    /// What happens when they do.
    pub when_full: WhenFull,
}

impl Default for Backlog {
    fn default() -> Self {
        Self { max_bytes: Size::bytes(64 << 20), when_full: WhenFull::Refuse }
    }
}

/// What happens when the backlog of a receiver is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WhenFull {
    /// New messages are refused, so that the agents keep them.
    Refuse,
    /// This receiver skips its oldest messages, counted; the others are not affected.
    Skip,
}
