//! The options of operators and embedders for a host and its receivers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Duration;
use crate::{Backlog, BatchLimits, Retry};

/// The level at which messages are acknowledged.
///
/// The levels are ordered: each includes the guarantees of those before it.
///
/// ```
/// use poa_core::{Ack, Host};
///
/// // Readings survive a crash of the machine; a lost heartbeat is soon followed by the next.
/// let builder = Host::builder()
///     .data_types(["readings", "heartbeats"])
///     .ack(Ack::Stored)
///     .ack_for("heartbeats", Ack::Memory);
/// # drop(builder);
/// assert!(Ack::Memory < Ack::Stored);
/// ```
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ack {
    /// The message is queued in memory: lost when the process ends before it is delivered.
    #[default]
    Memory,
    /// The message is stored and synced to disk. Needs an engine that stores.
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

/// The options common to all receivers.
///
/// ```
/// use std::time::Duration;
/// use poa_core::{ReadFrom, ReceiverOptions, Scope};
///
/// let options = ReceiverOptions::subscribe(["readings", "alarms"])
///     .batch(500, Duration::from_millis(50))
///     .from_start() // a new store begins with the messages that the log still has
///     .critical();  // `ack = "delivered"` waits for it
/// assert_eq!(options.from, ReadFrom::Start);
///
/// // In a configuration these are the keys of `[receivers.dashboard]`, beside those of its kind.
/// let text = r#"{ "subscribe": ["readings"], "scope": "each" }"#;
/// assert_eq!(serde_json::from_str::<ReceiverOptions>(text)?.scope, Scope::Each);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ReceiverOptions {
    /// The data types of this receiver.
    pub subscribe: Vec<String>,
    /// The limits of a batch.
    #[serde(default)]
    pub batch: BatchLimits,
    /// The retries of failed deliveries.
    #[serde(default)]
    pub retry: Retry,
    /// The limits of its backlog.
    #[serde(default)]
    pub backlog: Backlog,
    /// The time limit for one batch; a receiver that exceeds it is restarted and gets the batch again.
    #[serde(default = "default_timeout")]
    pub timeout: Duration,
    /// Whether the host refuses to start while this receiver is unavailable. Otherwise the receiver is retried in the
    /// background.
    #[serde(default)]
    pub required: bool,
    /// Whether `ack = "delivered"` waits for this receiver. If no receiver is critical, it waits for all.
    #[serde(default)]
    pub critical: bool,
    /// The position at which a new receiver starts reading.
    #[serde(default)]
    pub from: ReadFrom,
    /// With an engine that spans machines: whether the receivers of this name on all nodes share one cursor.
    #[serde(default)]
    pub scope: Scope,
}

/// The sharing of cursors between receivers of one name on the nodes of an engine that spans machines.
///
/// See [`ReceiverOptions`] for an example.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Scope {
    /// All of them: each message is delivered by one node.
    #[default]
    Shared,
    /// None: each node gets every message from now on, and stores no cursor. For dashboards.
    Each,
}

/// The position at which a new receiver starts reading.
///
/// See [`ReceiverOptions`] for an example.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReadFrom {
    /// At the messages that arrive after it was added.
    #[default]
    End,
    /// At the oldest message that the engine still has.
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

    /// The same options with these batch limits.
    #[must_use]
    pub fn batch(mut self, size: usize, linger: impl Into<Duration>) -> Self {
        self.batch = BatchLimits { size, linger: linger.into(), ..self.batch };
        self
    }

    /// The same options with this backlog.
    #[must_use]
    pub fn backlog(mut self, bytes: u64, when_full: crate::WhenFull) -> Self {
        let max_bytes = Some(crate::config::Size::bytes(bytes));
        self.backlog = Backlog { max_bytes, when_full, ..self.backlog };
        self
    }

    /// The same options with this limit on the log that may be kept on the disk because of this receiver.
    #[must_use]
    pub fn max_log(mut self, bytes: u64) -> Self {
        self.backlog.max_log = Some(crate::config::Size::bytes(bytes));
        self
    }

    /// The same options with this time limit for one batch.
    #[must_use]
    pub fn timeout(mut self, timeout: impl Into<Duration>) -> Self {
        self.timeout = timeout.into();
        self
    }

    /// The same options, and `ack = "delivered"` waits for this receiver.
    #[must_use]
    pub fn critical(mut self) -> Self {
        self.critical = true;
        self
    }

    /// The same options, starting at the oldest message in the log.
    #[must_use]
    pub fn from_start(mut self) -> Self {
        self.from = ReadFrom::Start;
        self
    }

    /// The same options, and the host does not start without this receiver.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }
}
