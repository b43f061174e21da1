//! A running host: handlers, bus and receivers, started and stopped together.

mod builder;
mod change;
mod error;
mod options;
mod parts;
mod run;
mod start;
mod stop;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use builder::HostBuilder;
pub(crate) use change::HAND_OVER;
pub use error::{ChangeError, StartError};
pub use options::{Ack, ReadFrom, ReceiverOptions, Scope};
use parts::LockedParts;
pub use stop::StopReport;

use crate::bus::Bus;
use crate::delivery::{Replay, Turns};
use crate::engine::{Capabilities, Receipt, SendError, SharedStore};
use crate::handler::Services;
use crate::status::Status;
use crate::telemetry::Telemetry;
use crate::{
    AgentId, BuildContext, DataTypes, DeadLetters, Draft, HandlerContext, Message, MessageId,
    Timestamp,
};

/// A running host, on the runtime that started it.
///
/// [`stop`](Self::stop) it to deliver the accepted messages. A host that is dropped stops without delivering: its tasks are
/// aborted.
///
/// ```
/// use poa_core::{Host, ReceiverOptions, receiver_fn};
/// use poa_engine_local::Memory;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let data = dir.path();
/// let print = receiver_fn(|batch| async move {
///     batch.iter().for_each(|message| println!("{message:?}"));
///     Ok(())
/// });
/// let host = Host::builder()
///     .data_dir(data)
///     .data_types(["readings"])
///     .engine::<Memory>("memory", Default::default())
///     .receiver_from("print", ReceiverOptions::subscribe(["readings"]), print)
///     .start()
///     .await?;
///
/// let report = host.stop().await;
/// assert!(report.is_clean(), "undelivered: {:?}", report.undelivered);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Host {
    handle: HostHandle,
    monitor: JoinHandle<()>,
    limits: stop::Limits,
}

impl Drop for Host {
    fn drop(&mut self) {
        let shared = &self.handle.0;
        shared.ready.store(false, Ordering::Relaxed);
        self.monitor.abort();
        let parts = shared.parts.lock();
        parts.handlers.iter().filter_map(|part| part.task.as_ref()).for_each(JoinHandle::abort);
        parts.receivers.iter().flat_map(|part| &part.tasks).for_each(JoinHandle::abort);
        shared.bus.engine().close();
    }
}

impl Host {
    /// Returns a builder for a host.
    pub fn builder() -> HostBuilder {
        HostBuilder::new()
    }

    /// A handle to query the host, to send messages into it, and to change it.
    #[must_use]
    pub fn handle(&self) -> HostHandle {
        self.handle.clone()
    }
}

/// The reason why messages were not delivered again.
///
/// See [`HostHandle`] for an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The host has no receiver of this name.
    #[error("there is no such receiver")]
    NoSuchReceiver,
    /// The host or the receiver is stopping; undelivered messages stay in the dead letters.
    #[error("the host is stopping")]
    Stopping,
}

/// Queries a running host, sends messages into it, and changes it. Cloning is cheap.
///
/// ```
/// use poa_core::{ChangeError, Host, ReceiverOptions, ReplayError, receiver_fn};
/// use poa_engine_local::Memory;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let builder = Host::builder().data_dir(dir.path()).data_types(["readings"]);
/// let host = builder.engine::<Memory>("memory", Default::default()).start().await?;
/// let handle = host.handle();
///
/// // A receiver added to the running host starts at the next message.
/// let options = ReceiverOptions::subscribe(["readings"]);
/// let ignore = receiver_fn(|_| async { Ok(()) });
/// handle.add_receiver("ignore", options.clone(), ignore.clone()).await?;
/// let again = handle.add_receiver("ignore", options, ignore).await;
/// assert!(matches!(again, Err(ChangeError::DuplicateName(_))));
///
/// assert_eq!(handle.replay("store", vec![]).await, Err(ReplayError::NoSuchReceiver));
/// assert_eq!(handle.status().plugins.len(), 1);
/// # assert!(host.stop().await.is_clean());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct HostHandle(Arc<Shared>);

struct Shared {
    bus: Bus,
    services: Arc<Services>,
    /// The context for building plugins, except for their names.
    build: BuildContext,
    /// The directory for state that must survive a crash together with the messages, if they survive one.
    state_dir: Option<PathBuf>,
    turns: Turns,
    dead_letters: Option<Arc<dyn DeadLetters>>,
    start_timeout: Duration,
    stop_timeout: Duration,
    ready: AtomicBool,
    started_at: Timestamp,
    ack: Ack,
    engine_kind: Arc<str>,
    parts: LockedParts,
    /// Locked while the host is changed.
    changes: tokio::sync::Mutex<()>,
    stop_handlers: CancellationToken,
    stop_receivers: CancellationToken,
    /// Fires when the time for draining is nearly over.
    last_call: CancellationToken,
}

impl HostHandle {
    /// Whether the host accepts messages: from the end of its start to the beginning of its stop, unless its engine broke.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.ready.load(Ordering::Relaxed) && self.0.bus.engine().is_open()
    }

    /// The state of the host and of every plugin.
    #[must_use]
    pub fn status(&self) -> Status {
        let shared = &self.0;
        let parts = shared.parts.lock();
        let handlers = parts.handlers.iter().map(|part| part.cell.snapshot());
        let receivers = parts.receivers.iter().map(|part| part.state.status());
        let counts = &shared.build.bus.counts;
        Status {
            ready: self.is_ready(),
            started_at: shared.started_at,
            ack: shared.ack.name(),
            engine: shared.engine_kind.to_string(),
            bus: shared.bus.engine().status(),
            active_agents: shared.services.activity.active(),
            unrouted: counts.unrouted.get(),
            repeated: counts.repeated.get(),
            plugins: handlers.chain(receivers).collect(),
        }
    }

    /// All metrics of the host, in the Prometheus text format.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.0.parts.lock().receivers.iter().for_each(|part| part.state.refresh_gauges());
        self.0.bus.engine().refresh_metrics();
        self.telemetry().encode()
    }

    /// The telemetry registry of the host, to which counters can be added.
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        &self.0.services.telemetry
    }

    /// The data types the host accepts.
    #[must_use]
    pub fn data_types(&self) -> &DataTypes {
        &self.0.services.data_types
    }

    /// Sends a message to every receiver that subscribes to its data type, as a handler does.
    ///
    /// # Errors
    /// As [`HandlerContext::send_to_receivers`].
    pub fn send_to_receivers(&self, message: Draft) -> Result<Receipt, SendError> {
        self.0.bus.publish(message.into())
    }

    /// The capabilities of the host's engine.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.0.bus.engine().capabilities()
    }

    /// The store that all nodes of the engine share, if it spans machines.
    #[must_use]
    pub fn shared_store(&self) -> Option<Arc<dyn SharedStore>> {
        self.0.bus.engine().shared_store()
    }

    /// Tells every receiver that an agent is inactive, unless they were told already.
    pub fn publish_inactive(&self, agent: &AgentId) {
        self.0.services.activity.bye(agent);
    }

    /// Delivers messages to one receiver again, out of turn: dead letters whose cause was fixed.
    ///
    /// Returns the ids of those that were dead-lettered again; the others were delivered. Waits while the receiver is busy
    /// or not running.
    ///
    /// Cancel safe: messages that were passed to the receiver are delivered even if this call is dropped.
    ///
    /// # Errors
    /// When there is no such receiver, or the host is stopping.
    pub async fn replay(
        &self,
        receiver: &str,
        messages: Vec<Message>,
    ) -> Result<Vec<MessageId>, ReplayError> {
        let replay = {
            let parts = self.0.parts.lock();
            let part = parts.receivers.iter().find(|part| part.state.name == receiver);
            part.map(|part| part.state.replay.clone()).ok_or(ReplayError::NoSuchReceiver)?
        };
        let (done, failed) = oneshot::channel();
        let sent = replay.send(Replay { messages, done }).await;
        sent.map_err(|_| ReplayError::Stopping)?;
        failed.await.map_err(|_| ReplayError::Stopping)
    }

    /// The context of a handler of this name: lets code outside of any plugin act as a handler.
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
