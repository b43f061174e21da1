//! What a host asks of its engine.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::telemetry::{Counter, Telemetry};
use crate::{Ack, DataType, DataTypes};

/// What a host asks of its engine, whichever it is.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct BusSettings {
    /// What a positive answer promises.
    pub acks: Acks,
    /// What becomes of messages that no receiver subscribes to.
    pub unrouted: Unrouted,
    /// How long idempotency keys are remembered.
    pub keys: KeyWindow,
    /// What every engine counts.
    pub counts: BusCounts,
}

impl BusSettings {
    /// These promises; everything else as it is by default.
    #[must_use]
    pub fn new(acks: Acks) -> Self {
        Self { acks, ..Self::default() }
    }
}

/// What a positive answer promises, by data type.
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
    /// The promise for each of these types; `delivered` waits for so long.
    #[must_use]
    pub fn new(
        types: &DataTypes,
        ack: impl Fn(&DataType) -> Ack,
        delivered_within: Duration,
    ) -> Self {
        Self { by_type: types.iter().map(ack).collect(), delivered_within }
    }

    /// The promise for messages of this type.
    #[must_use]
    pub fn of(&self, data_type: &DataType) -> Ack {
        self.by_type.get(data_type.index()).copied().unwrap_or_default()
    }

    /// Whether any type has this promise.
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

/// What becomes of messages that no receiver subscribes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unrouted {
    /// They are refused: an agent gets no positive answer for a message that reaches no receiver.
    #[default]
    Refuse,
    /// They are accepted, counted and dropped.
    Allow,
}

/// What every engine counts.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct BusCounts {
    /// Messages of types that no receiver subscribes to.
    pub unrouted: Counter,
    /// Messages that were taken before, by their idempotency key.
    pub repeated: Counter,
}

impl BusCounts {
    /// Counters registered here.
    #[must_use]
    pub fn new(telemetry: &Telemetry) -> Self {
        let counter = |name, help| telemetry.counter(name, help, &[]);
        Self {
            unrouted: counter(
                "unrouted_messages",
                "Messages of types that no receiver subscribes to",
            ),
            repeated: counter("repeated_messages", "Messages taken before, by idempotency key"),
        }
    }
}

/// How long, how many and over how much of the log idempotency keys are remembered: whichever ends first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyWindow {
    /// For how long.
    pub time: Duration,
    /// How many, because they are in memory: about 120 bytes each.
    pub keys: usize,
    /// Over how much of the log, because the log is kept for so long and is read for keys at the start.
    pub log_bytes: u64,
}

impl Default for KeyWindow {
    fn default() -> Self {
        Self { time: Duration::from_secs(600), keys: 500_000, log_bytes: 256 << 20 }
    }
}

impl KeyWindow {
    /// The same over another time.
    #[must_use]
    pub fn time(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }

    /// The same with room for so many keys.
    #[must_use]
    pub fn keys(mut self, keys: usize) -> Self {
        self.keys = keys;
        self
    }
}
