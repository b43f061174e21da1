//! The requirements of a host on its engine.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::telemetry::{Counter, Telemetry};
use crate::{Ack, DataType, DataTypes};

/// The requirements of a host on its engine, whichever it is.
///
/// See [`Acks`] for an example.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct BusSettings {
    /// The level at which messages are acknowledged.
    pub acks: Acks,
    /// The treatment of messages that no receiver subscribes to.
    pub unrouted: Unrouted,
    /// The deduplication window.
    pub keys: KeyWindow,
    /// The counters that every engine maintains.
    pub counts: BusCounts,
}

impl BusSettings {
    /// These levels, and the defaults for everything else.
    #[must_use]
    pub fn new(acks: Acks) -> Self {
        Self { acks, ..Self::default() }
    }
}

/// The level at which messages are acknowledged, by data type.
///
/// ```
/// use std::time::Duration;
/// use poa_core::engine::{Acks, BusSettings};
/// use poa_core::{Ack, BuildContext, DataTypes};
///
/// let types = DataTypes::new(["readings", "heartbeats"])?;
/// let by_type = |data_type: &poa_core::DataType| match data_type.name() {
///     "heartbeats" => Ack::Memory,
///     _ => Ack::Stored,
/// };
/// let acks = Acks::new(&types, by_type, Duration::from_secs(30));
/// assert_eq!(acks.of(types.get("heartbeats").expect("declared above")), Ack::Memory);
///
/// // An engine finds them in its context; a test of an engine puts them there.
/// let cx = BuildContext::detached("mine", std::env::temp_dir()).with_bus(BusSettings::new(acks));
/// assert!(cx.bus().acks.contains(Ack::Stored));
/// # Ok::<(), poa_core::InvalidDataType>(())
/// ```
#[derive(Clone, Debug)]
pub struct Acks {
    by_type: Box<[Ack]>,
    delivered_within: Duration,
}

impl Default for Acks {
    fn default() -> Self {
        Self { by_type: Box::default(), delivered_within: Duration::from_secs(30) }
    }
}

impl Acks {
    /// The level for each of these types; `delivered` waits at most for this time.
    #[must_use]
    pub fn new(
        types: &DataTypes,
        ack: impl Fn(&DataType) -> Ack,
        delivered_within: Duration,
    ) -> Self {
        Self { by_type: types.iter().map(ack).collect(), delivered_within }
    }

    /// The level for messages of this type.
    #[must_use]
    pub fn of(&self, data_type: &DataType) -> Ack {
        self.by_type.get(data_type.index()).copied().unwrap_or_default()
    }

    /// Whether any type has this level.
    #[must_use]
    pub fn contains(&self, ack: Ack) -> bool {
        self.by_type.contains(&ack)
    }

    /// How long `delivered` may take.
    #[must_use]
    pub fn delivered_within(&self) -> Duration {
        self.delivered_within
    }
}

/// The treatment of messages that no receiver subscribes to.
///
/// ```
/// use poa_core::Host;
/// use poa_core::engine::Unrouted;
///
/// // For a host whose receivers come and go: messages of types that no receiver wants are counted, not refused.
/// let builder = Host::builder().data_types(["readings"]).unrouted(Unrouted::Allow);
/// # drop(builder);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unrouted {
    /// They are refused: a message that reaches no receiver is not acknowledged.
    #[default]
    Refuse,
    /// They are accepted, counted and dropped.
    Allow,
}

/// The counters that every engine maintains.
///
/// ```
/// use poa_core::engine::BusCounts;
/// use poa_core::telemetry::Telemetry;
///
/// let telemetry = Telemetry::default();
/// // An engine increments them; every engine has the same metrics, so dashboards need not know which one runs.
/// BusCounts::new(&telemetry).repeated.inc();
/// assert!(telemetry.encode().contains("poa_repeated_messages_total{} 1"));
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct BusCounts {
    /// Messages of types that no receiver subscribes to.
    pub unrouted: Counter,
    /// Duplicates, recognised by their idempotency key.
    pub repeated: Counter,
}

impl BusCounts {
    /// Counters registered in this registry.
    #[must_use]
    pub fn new(telemetry: &Telemetry) -> Self {
        let counter = |name, help| telemetry.counter(name, help, &[]);
        Self {
            unrouted: counter(
                "unrouted_messages",
                "Messages of types that no receiver subscribes to",
            ),
            repeated: counter(
                "repeated_messages",
                "Duplicate messages, recognised by idempotency key",
            ),
        }
    }
}

/// The deduplication window: a key is forgotten as soon as one of the three limits is reached.
///
/// ```
/// use std::time::Duration;
/// use poa_core::Host;
/// use poa_core::engine::KeyWindow;
///
/// // Agents of this service retry for a day after an outage.
/// let window = KeyWindow::default().time(Duration::from_secs(86_400)).keys(5_000_000);
/// let builder = Host::builder().idempotency(window);
/// # drop(builder);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyWindow {
    /// How long keys are remembered.
    pub time: Duration,
    /// How many keys are remembered. They are in memory: about 120 bytes each.
    pub keys: usize,
    /// The number of bytes of the log over which keys are remembered. The log is kept for as long, and is
    /// read for keys at the start.
    pub log_bytes: u64,
}

impl Default for KeyWindow {
    fn default() -> Self {
        Self { time: Duration::from_secs(600), keys: 500_000, log_bytes: 256 << 20 }
    }
}

impl KeyWindow {
    /// The same window with another time.
    #[must_use]
    pub fn time(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }

    /// The same window for this many keys.
    #[must_use]
    pub fn keys(mut self, keys: usize) -> Self {
        self.keys = keys;
        self
    }
}
