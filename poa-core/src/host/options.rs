//! What operators and embedders choose for a host and its receivers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Duration;
use crate::{Backlog, BatchLimits, Retry};

/// What a positive answer to an agent means.
///
/// The levels are ordered: each promises what those before it do.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ack {
    /// The message is queued in memory: lost when the process ends before it is delivered.
    #[default]
    Memory,
    /// The message is stored: it is on the disk, and the disk is synced. Needs an engine that stores.
    Stored,
    /// Every `critical` receiver subscribed to it has confirmed the message; every receiver, if none is critical.
    Delivered,
}

impl Ack {
    /// The name in a configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Stored => "stored",
            Self::Delivered => "delivered",
        }
    }
}

/// What is common to all receivers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ReceiverOptions {
    /// The data types this receiver gets.
    pub subscribe: Vec<String>,
    /// How many messages it gets at once.
    #[serde(default)]
    pub batch: BatchLimits,
    /// How failed deliveries are repeated.
    #[serde(default)]
    pub retry: Retry,
    /// How far it may fall behind.
    #[serde(default)]
    pub backlog: Backlog,
    /// How long it may take for one batch; then it is restarted and gets the batch again.
    #[serde(default = "default_timeout")]
    pub timeout: Duration,
    /// Whether the host refuses to start while this receiver is not available. Otherwise it is retried in the background.
    #[serde(default)]
    pub required: bool,
    /// Whether `ack = "delivered"` waits for this receiver. If no receiver is critical, it waits for all.
    #[serde(default)]
    pub critical: bool,
    /// Where a new receiver starts reading.
    #[serde(default)]
    pub from: ReadFrom,
    /// With an engine that spans machines: whether the receivers of this name on all nodes share one cursor.
    #[serde(default)]
    pub scope: Scope,
}

/// Which receivers of one name, on the nodes of an engine that spans machines, share a cursor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Scope {
    /// All of them: each message is delivered by one node.
    #[default]
    Shared,
    /// None: each node gets every message from now on, and keeps no cursor. For dashboards.
    Each,
}

/// Where a new receiver starts reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReadFrom {
    /// With messages that come after it was added.
    #[default]
    End,
    /// With the oldest message that the engine still has.
    Start,
}

const fn default_timeout() -> Duration {
    Duration::from_secs(60)
}

impl ReceiverOptions {
    /// The defaults, for these data types.
    #[must_use]
    pub fn subscribe<N: Into<String>>(types: impl IntoIterator<Item = N>) -> Self {
        Self {
            subscribe: types.into_iter().map(Into::into).collect(),
            batch: BatchLimits::default(),
            retry: Retry::default(),
            backlog: Backlog::default(),
            timeout: default_timeout(),
            required: false,
            critical: false,
            from: ReadFrom::End,
            scope: Scope::Shared,
        }
    }

    /// The same with other batches.
    #[must_use]
    pub fn batch(mut self, size: usize, linger: impl Into<Duration>) -> Self {
        self.batch = BatchLimits { size, linger: linger.into(), ..self.batch };
        self
    }

    /// The same with another bound on how far the receiver may fall behind.
    #[must_use]
    pub fn backlog(mut self, bytes: u64, when_full: crate::WhenFull) -> Self {
        let max_bytes = Some(crate::config::Size::bytes(bytes));
        self.backlog = Backlog { max_bytes, when_full, ..self.backlog };
        self
    }

    /// The same with another bound on the log that may be kept on the disk because of this receiver.
    #[must_use]
    pub fn max_log(mut self, bytes: u64) -> Self {
        self.backlog.max_log = Some(crate::config::Size::bytes(bytes));
        self
    }

    /// The same with another bound on the time for one batch.
    #[must_use]
    pub fn timeout(mut self, timeout: impl Into<Duration>) -> Self {
        self.timeout = timeout.into();
        self
    }

    /// The same, and `ack = "delivered"` waits for this receiver.
    #[must_use]
    pub fn critical(mut self) -> Self {
        self.critical = true;
        self
    }

    /// The same, beginning with the oldest message in the log.
    #[must_use]
    pub fn from_start(mut self) -> Self {
        self.from = ReadFrom::Start;
        self
    }

    /// The same, and the host does not start without this receiver.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }
}
