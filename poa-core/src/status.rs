//! The state that a host reports about itself.

use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;

use crate::Timestamp;

/// The state of a host at one moment.
///
/// ```
/// use poa_core::status::{Phase, Role, Status};
/// # use poa_core::{Host, ReceiverOptions, receiver_fn};
/// # use poa_engine_local::Memory;
///
/// /// The line of a health page: receivers that do not deliver, and how many messages wait for each.
/// fn troubled(status: &Status) -> Vec<String> {
///     let receivers = status.plugins.iter().filter(|plugin| plugin.role == Role::Receiver);
///     let troubled = receivers.filter(|plugin| plugin.phase != Phase::Running);
///     troubled
///         .map(|plugin| {
///             let backlog = plugin.delivery.unwrap_or_default().backlog_messages;
///             format!("{} is {:?}, {backlog} messages wait", plugin.name, plugin.phase)
///         })
///         .collect()
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let options = ReceiverOptions::subscribe(["readings"]).required();
/// # let host = Host::builder().data_dir(dir.path()).data_types(["readings"])
/// #     .engine::<Memory>("memory", Default::default())
/// #     .receiver_from("print", options, receiver_fn(|_| async { Ok(()) }))
/// #     .start().await?;
///
/// assert_eq!(troubled(&host.handle().status()), Vec::<String>::new());
/// # host.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// Whether the host accepts messages.
    pub ready: bool,
    /// The time at which the host started.
    pub started_at: Timestamp,
    /// The level at which messages are acknowledged: `memory`, `stored` or `delivered`.
    pub ack: &'static str,
    /// The engine of the bus.
    pub engine: String,
    /// The state that the engine reports.
    #[serde(skip_serializing_if = "is_nothing")]
    pub bus: serde_json::Value,
    /// The number of agents whose silence would be detected.
    pub active_agents: usize,
    /// The number of messages of types that no receiver subscribed to.
    pub unrouted: u64,
    /// The number of duplicate messages, recognised by their idempotency key.
    pub repeated: u64,
    /// Every handler and receiver.
    pub plugins: Vec<PluginStatus>,
}

fn is_nothing(value: &serde_json::Value) -> bool {
    value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty)
}

/// The state of a plugin at one moment.
///
/// See [`Status`] for an example.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PluginStatus {
    /// The name in the configuration.
    pub name: String,
    /// `handler` or `receiver`.
    pub role: Role,
    /// The phase of the plugin's life.
    pub phase: Phase,
    /// The time at which this phase began.
    pub since: Timestamp,
    /// The number of restarts.
    pub restarts: u64,
    /// The last error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// The time of the last error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error_at: Option<Timestamp>,
    /// The address of the plugin, if it listens.
    pub endpoints: Vec<String>,
    /// The backlog and the work of a receiver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliveryStatus>,
    /// The state that the engine reports about the receiver's subscription, if it reports any.
    #[serde(skip_serializing_if = "is_nothing")]
    pub subscription: serde_json::Value,
}

/// The backlog and the work of a receiver. Counts are of messages since the host started.
///
/// See [`Status`] for an example.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DeliveryStatus {
    /// Messages in the backlog, including those in flight.
    pub backlog_messages: u64,
    /// Their size in memory.
    pub backlog_bytes: u64,
    /// Messages delivered.
    pub delivered: u64,
    /// Attempts that failed and were retried.
    pub retried: u64,
    /// Messages dead-lettered because they cannot be delivered.
    pub dead_lettered: u64,
    /// Messages skipped because the backlog was full.
    pub skipped: u64,
    /// The age of the oldest message in the backlog, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_seconds: Option<u64>,
}

/// The role of a plugin.
///
/// See [`Status`] for an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// It sends messages into the host.
    Handler,
    /// It receives messages from the host.
    Receiver,
}

/// The phase of a plugin's life.
///
/// See [`Status`] for an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Phase {
    /// It is being built for the first time.
    Starting,
    /// It is running.
    Running,
    /// Its deliveries fail with transient errors and are retried.
    Retrying,
    /// Its deliveries fail until the configuration or the destination is corrected; they are retried with the longest wait.
    Misconfigured,
    /// It failed and will be restarted.
    Restarting,
    /// It was told to stop.
    Stopping,
    /// It has stopped.
    Stopped,
}

/// The state of one plugin, written by its supervisor and read by status queries.
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
