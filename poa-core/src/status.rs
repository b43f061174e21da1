//! What a host tells about itself.

use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;

use crate::Timestamp;

/// The state of a host at one moment.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// True while the host takes messages.
    pub ready: bool,
    /// Since when the host runs.
    pub started_at: Timestamp,
    /// What a positive answer means: `memory`, `stored` or `delivered`.
    pub ack: &'static str,
    /// The engine of the bus.
    pub engine: String,
    /// What the engine tells about itself.
    #[serde(skip_serializing_if = "is_nothing")]
    pub bus: serde_json::Value,
    /// Agents whose silence would be noticed.
    pub active_agents: usize,
    /// Messages of types that no receiver subscribed to.
    pub unrouted: u64,
    /// Messages that were sent again with the same idempotency key, and taken once.
    pub repeated: u64,
    /// Every handler and receiver.
    pub plugins: Vec<PluginStatus>,
}

fn is_nothing(value: &serde_json::Value) -> bool {
    value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty)
}

/// The state of a plugin at one moment.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PluginStatus {
    /// The name in the configuration.
    pub name: String,
    /// `handler` or `receiver`.
    pub role: Role,
    /// Where the plugin is in its life.
    pub phase: Phase,
    /// Since when it is there.
    pub since: Timestamp,
    /// How often it was started anew.
    pub restarts: u64,
    /// The last thing that went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When that was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error_at: Option<Timestamp>,
    /// Where it can be reached.
    pub endpoints: Vec<String>,
    /// What a receiver still has to do and has done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliveryStatus>,
    /// What the engine tells about the receiver's subscription, where it has more to tell.
    #[serde(skip_serializing_if = "is_nothing")]
    pub subscription: serde_json::Value,
}

/// What a receiver still has to do and has done. Counts are of messages since the host started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DeliveryStatus {
    /// Messages waiting, those in hand included.
    pub backlog_messages: u64,
    /// Their size in memory.
    pub backlog_bytes: u64,
    /// Messages delivered.
    pub delivered: u64,
    /// Attempts that failed and were repeated.
    pub retried: u64,
    /// Messages set aside because they can never be delivered.
    pub dead_lettered: u64,
    /// Messages skipped because the backlog was full.
    pub skipped: u64,
    /// How long the oldest message has waited, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_seconds: Option<u64>,
}

/// What a plugin is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// It takes messages in.
    Handler,
    /// It takes messages out.
    Receiver,
}

/// Where a plugin is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Phase {
    /// It is being built for the first time.
    Starting,
    /// It does its work.
    Running,
    /// Its deliveries fail for now and are repeated.
    Retrying,
    /// Its deliveries fail until the configuration or the other side is put right; they are repeated with the longest wait.
    Misconfigured,
    /// It failed and will be started anew.
    Restarting,
    /// It was told to stop.
    Stopping,
    /// It has stopped.
    Stopped,
}

/// The state of one plugin, written by its supervisor and read by whoever asks.
#[derive(Clone, Debug)]
pub(crate) struct StatusCell(Arc<Mutex<PluginStatus>>);

impl StatusCell {
    pub(crate) fn new(name: &str, role: Role) -> Self {
        Self(Arc::new(Mutex::new(PluginStatus {
            name: name.to_owned(),
            role,
            phase: Phase::Starting,
            since: Timestamp::now(),
            restarts: 0,
            last_error: None,
            last_error_at: None,
            endpoints: Vec::new(),
            delivery: None,
            subscription: serde_json::Value::Null,
        })))
    }

    pub(crate) fn enter(&self, phase: Phase) {
        let mut status = self.0.lock();
        if status.phase != phase {
            status.phase = phase;
            status.since = Timestamp::now();
        }
    }

    pub(crate) fn running(&self, endpoints: Vec<String>) {
        self.0.lock().endpoints = endpoints;
        self.enter(Phase::Running);
    }

    pub(crate) fn failed(&self, error: &str) {
        let mut status = self.0.lock();
        status.last_error = Some(error.to_owned());
        status.last_error_at = Some(Timestamp::now());
    }

    pub(crate) fn restarted(&self) {
        self.0.lock().restarts += 1;
    }

    pub(crate) fn snapshot(&self) -> PluginStatus {
        self.0.lock().clone()
    }
}
