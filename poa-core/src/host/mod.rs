//! A running poa: handlers, bus and receivers, started and stopped together.

mod builder;
mod options;
mod run;
mod start;
mod stop;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use builder::{HostBuilder, StartError};
pub use options::{Ack, Engine, ReadFrom, ReceiverOptions};
pub use stop::StopReport;

use crate::bus::{Bus, Reader};
use crate::delivery::{Counts, Replay};
use crate::handler::Services;
use crate::status::{DeliveryStatus, PluginStatus, Status, StatusCell};
use crate::telemetry::{Gauge, Telemetry};
use crate::{
    AgentId, DataTypes, Draft, HandlerContext, Message, MessageId, Receipt, Refused, Timestamp,
};

/// A running host, on the runtime that started it.
///
/// [`stop`](Self::stop) it to deliver what it took. A host that is dropped stops without delivering: its tasks are aborted.
#[derive(Debug)]
pub struct Host {
    handle: HostHandle,
    handlers: Vec<Task>,
    receivers: Vec<Task>,
    monitor: JoinHandle<()>,
    /// Told when the thread that writes the log has ended, if there is one.
    committer: Option<oneshot::Receiver<()>>,
    limits: stop::Limits,
}

/// A plugin's task.
#[derive(Debug)]
struct Task {
    name: String,
    task: JoinHandle<()>,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.handle.0.ready.store(false, Ordering::Relaxed);
        self.monitor.abort();
        for plugin in self.handlers.iter().chain(&self.receivers) {
            plugin.task.abort();
        }
        self.handle.0.bus.close();
        self.handle.0.bus.finish();
    }
}

impl Host {
    /// Begins to describe a host.
    pub fn builder() -> HostBuilder {
        HostBuilder::new()
    }

    /// A handle to ask the host about itself, and to send messages into it.
    #[must_use]
    pub fn handle(&self) -> HostHandle {
        self.handle.clone()
    }
}

/// Why messages were not delivered again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The host has no receiver of this name.
    #[error("there is no such receiver")]
    NoSuchReceiver,
    /// The host is stopping; what was not delivered stays where it was.
    #[error("the host is stopping")]
    Stopping,
}

/// Asks a running host about itself, and sends messages into it. Cloning is cheap.
#[derive(Clone)]
pub struct HostHandle(Arc<Shared>);

struct Shared {
    bus: Arc<Bus>,
    services: Arc<Services>,
    ready: AtomicBool,
    started_at: Timestamp,
    ack: Ack,
    engine: Engine,
    handler_status: Vec<StatusCell>,
    receiver_status: Vec<ReceiverState>,
    stop_handlers: CancellationToken,
    stop_receivers: CancellationToken,
}

/// What can be asked about a receiver while it runs.
struct ReceiverState {
    name: String,
    cell: StatusCell,
    reader: Arc<Reader>,
    counts: Arc<Counts>,
    backlog_messages: Gauge,
    backlog_bytes: Gauge,
    replay: mpsc::Sender<Replay>,
}

impl ReceiverState {
    fn delivery(&self) -> DeliveryStatus {
        let backlog = self.reader.backlog();
        DeliveryStatus {
            backlog_messages: backlog.count as u64,
            backlog_bytes: backlog.bytes as u64,
            delivered: self.counts.delivered.get(),
            retried: self.counts.retried.get(),
            dead_lettered: self.counts.dead_lettered.get(),
            skipped: self.counts.skipped.get(),
        }
    }

    fn status(&self) -> PluginStatus {
        PluginStatus { delivery: Some(self.delivery()), ..self.cell.snapshot() }
    }
}

impl HostHandle {
    /// True while the host takes messages: from the end of its start to the beginning of its stop, unless its log broke.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.ready.load(Ordering::Relaxed) && !self.0.bus.is_closing()
    }

    /// The state of the host and of every plugin.
    #[must_use]
    pub fn status(&self) -> Status {
        let shared = &self.0;
        let handlers = shared.handler_status.iter().map(StatusCell::snapshot);
        let receivers = shared.receiver_status.iter().map(ReceiverState::status);
        Status {
            ready: self.is_ready(),
            started_at: shared.started_at,
            ack: shared.ack.name(),
            engine: shared.engine.name(),
            active_agents: shared.services.activity.active(),
            unrouted: shared.bus.counts().unrouted.get(),
            repeated: shared.bus.counts().repeated.get(),
            plugins: handlers.chain(receivers).collect(),
        }
    }

    /// All metrics of the host, in the Prometheus text format.
    #[must_use]
    pub fn metrics(&self) -> String {
        for receiver in &self.0.receiver_status {
            let backlog = receiver.reader.backlog();
            receiver.backlog_messages.set(backlog.count as i64);
            receiver.backlog_bytes.set(backlog.bytes as i64);
        }
        self.telemetry().encode()
    }

    /// The counters of the host, to add to them.
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        &self.0.services.telemetry
    }

    /// The data types the host accepts.
    #[must_use]
    pub fn data_types(&self) -> &DataTypes {
        &self.0.services.data_types
    }

    /// Gives a message to every receiver that subscribed to its data type, as a handler does.
    ///
    /// # Errors
    /// When a backlog is full or the host is stopping. The message was then given to nobody.
    pub fn send_to_receivers(&self, message: Draft) -> Result<Receipt, Refused> {
        self.0.bus.publish([message])
    }

    /// Tells every receiver that an agent is inactive, unless that is known already.
    pub fn publish_inactive(&self, agent: &AgentId) {
        self.0.services.activity.bye(agent);
    }

    /// Delivers messages to one receiver again, out of turn: dead letters whose cause was mended.
    ///
    /// Returns the ids of those that were set aside once more; the others were delivered. Waits while the receiver is
    /// busy or down.
    ///
    /// Cancel safe: messages that the receiver has got are delivered whether anybody waits or not.
    ///
    /// # Errors
    /// When there is no such receiver, or the host is stopping.
    pub async fn replay(
        &self,
        receiver: &str,
        messages: Vec<Message>,
    ) -> Result<Vec<MessageId>, ReplayError> {
        let mut states = self.0.receiver_status.iter();
        let state =
            states.find(|state| state.name == receiver).ok_or(ReplayError::NoSuchReceiver)?;
        let (done, failed) = oneshot::channel();
        let sent = state.replay.send(Replay { messages, done }).await;
        sent.map_err(|_| ReplayError::Stopping)?;
        failed.await.map_err(|_| ReplayError::Stopping)
    }

    /// What a handler of this name would get: lets code outside any plugin act as a handler.
    #[must_use]
    pub fn context(&self, name: &str) -> HandlerContext {
        HandlerContext {
            name: name.into(),
            shutdown: self.0.stop_handlers.clone(),
            services: self.0.services.clone(),
        }
    }
}

impl fmt::Debug for HostHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostHandle").field("ready", &self.is_ready()).finish_non_exhaustive()
    }
}
