//! The outward side: receivers store messages, show them or pass them on.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::engine::{Receipt, SendError};
use crate::handler::Services;
use crate::telemetry::Telemetry;
use crate::{AgentId, BoxError, DataTypes, Draft, Message, Timestamp};

/// Takes messages out of the host.
///
/// One task owns each receiver, so every method has `&mut self` and no lock is needed. The methods run one at a time; what
/// happened to one agent is told in its order. An error is only classified here; retries, backoff and dead letters are the host's work.
///
/// A future of any of these methods may be dropped before it ends, when it takes longer than its time, when the receiver is replaced
/// or when the host stops. The receiver is then dropped too, and a new one is built; what was in hand is delivered again. So a
/// receiver stores by [message id](Message::id), and storing twice is storing once.
#[async_trait]
#[diagnostic::on_unimplemented(note = "a receiver implements `poa_core::Receiver`")]
pub trait Receiver: Send + 'static {
    /// Called once, before anything else: the place to spawn tasks and open connections that live as long as the receiver. Tasks end
    /// when [`ReceiverContext::shutdown`] fires or the receiver is dropped.
    ///
    /// # Errors
    /// An error ends this instance; the host builds a new one after a growing wait.
    async fn start(&mut self, cx: ReceiverContext) -> Result<(), DeliveryError> {
        let _ = cx;
        Ok(())
    }

    /// Messages of the subscribed data types, oldest first, at least one. Returning `Ok` confirms all of them.
    ///
    /// # Errors
    /// See [`DeliveryError`]. Unless it says otherwise, nothing counts as delivered.
    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError>;

    /// Agents that became inactive, at least one: silent for too long, or gone.
    ///
    /// # Errors
    /// As for [`metrics_received`](Self::metrics_received).
    async fn handle_inactive(&mut self, agents: &[Activity]) -> Result<(), DeliveryError> {
        let _ = agents;
        Ok(())
    }

    /// Agents that became active, at least one: heard for the first time, or again after a silence.
    ///
    /// A receiver that is rebuilt while the host runs is told first which agents are active at that time, and since when. Changes that
    /// were on their way to the one before it come after that, so it may hear of some twice.
    ///
    /// # Errors
    /// As for [`metrics_received`](Self::metrics_received).
    async fn handle_active(&mut self, agents: &[Activity]) -> Result<(), DeliveryError> {
        let _ = agents;
        Ok(())
    }

    /// A message from the host about itself.
    ///
    /// # Errors
    /// An error is logged, nothing more.
    async fn handle_message(&mut self, message: ControlMessage) -> Result<(), DeliveryError> {
        let _ = message;
        Ok(())
    }

    /// The last call: flush and close. Nothing comes after it, and its time is bounded.
    async fn terminate(&mut self) {}

    /// Where people find this receiver, if it listens: `ws://127.0.0.1:8181/ws`.
    fn endpoints(&self) -> Vec<String> {
        Vec::new()
    }
}

/// What a host offers to a running receiver. Cloning is cheap.
#[derive(Clone)]
pub struct ReceiverContext {
    pub(crate) name: Arc<str>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) services: Arc<Services>,
}

impl ReceiverContext {
    /// The name of the receiver, the `x` of `[receivers.x]`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Fires when the receiver is to stop, because the host stops or the receiver is replaced or removed.
    #[must_use]
    pub fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// Where to register counters and gauges.
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        &self.services.telemetry
    }

    /// The data types the host accepts.
    #[must_use]
    pub fn data_types(&self) -> &DataTypes {
        &self.services.data_types
    }

    /// Sends a message into the host, as a handler does: for receivers that derive messages from others.
    ///
    /// # Errors
    /// As [`HandlerContext::send_to_receivers`](crate::HandlerContext::send_to_receivers).
    pub fn send_to_receivers(&self, message: Draft) -> Result<Receipt, SendError> {
        self.services.way.send(message.into(), &self.services.data_types)
    }

    /// Tells every receiver that an agent is inactive, unless that is known already.
    pub fn publish_inactive(&self, agent: &AgentId) {
        self.services.activity.bye(agent);
    }
}

impl fmt::Debug for ReceiverContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiverContext").field("name", &self.name).finish_non_exhaustive()
    }
}

/// An agent whose state changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Activity {
    /// The agent.
    pub agent_id: AgentId,
    /// Its state from now on.
    pub active: bool,
    /// When the state changed.
    pub since: Timestamp,
}

impl Activity {
    /// An agent that became active or inactive at `since`.
    #[must_use]
    pub fn new(agent_id: AgentId, active: bool, since: Timestamp) -> Self {
        Self { agent_id, active, since }
    }
}

/// What the host tells a receiver about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ControlMessage {
    /// The host is stopping. What is still queued will be delivered, then [`Receiver::terminate`] is called.
    Stopping,
}

/// Why messages were not delivered. The receiver knows best, so it decides here what may succeed later.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// It may work later: connection lost, table locked, throttled. The host repeats the batch with growing waits.
    #[error("not delivered for now")]
    Transient {
        /// Why.
        #[source]
        source: BoxError,
        /// How long the other side asked to wait, if it said so.
        retry_after: Option<Duration>,
    },
    /// It works once the configuration or the other side is put right: wrong credentials, a table or path that does not exist. The
    /// host repeats the batch with the longest wait, and says in `/status` that the receiver is misconfigured.
    #[error("not delivered, the configuration is wrong")]
    Misconfigured(#[source] BoxError),
    /// It never will, for these items of the batch (by index). Without any index: for some, and the host finds out
    /// which by delivering the halves.
    #[error("not deliverable")]
    Permanent {
        /// The items that can never be delivered; empty when the receiver cannot tell.
        items: Vec<usize>,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// These items of the batch can never be delivered; all others are delivered, and are not given again.
    #[error("{} messages of the batch were rejected", .0.len())]
    Rejected(Vec<Rejected>),
}

/// A message of a batch that can never be delivered, while others of the batch were.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rejected {
    /// Its index in the batch.
    pub item: usize,
    /// Why.
    pub reason: String,
}

impl Rejected {
    /// The message of this index was rejected for this reason.
    pub fn new(item: usize, reason: impl Into<String>) -> Self {
        Self { item, reason: reason.into() }
    }
}

impl DeliveryError {
    /// It may work later.
    pub fn transient(source: impl Into<BoxError>) -> Self {
        Self::Transient { source: source.into(), retry_after: None }
    }

    /// It may work after this time, as the other side said.
    pub fn transient_after(wait: Duration, source: impl Into<BoxError>) -> Self {
        Self::Transient { source: source.into(), retry_after: Some(wait) }
    }

    /// It works once the configuration or the other side is put right.
    pub fn misconfigured(source: impl Into<BoxError>) -> Self {
        Self::Misconfigured(source.into())
    }

    /// Some messages of the batch can never be delivered, and the receiver cannot tell which.
    pub fn permanent(source: impl Into<BoxError>) -> Self {
        Self::Permanent { items: Vec::new(), source: source.into() }
    }

    /// These messages of the batch can never be delivered.
    pub fn permanent_for(items: Vec<usize>, source: impl Into<BoxError>) -> Self {
        Self::Permanent { items, source: source.into() }
    }

    /// These messages of the batch can never be delivered; all others are delivered.
    #[must_use]
    pub fn rejected(items: Vec<Rejected>) -> Self {
        Self::Rejected(items)
    }
}
