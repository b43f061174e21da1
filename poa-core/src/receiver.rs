//! Receivers: plugins that store messages, show them or forward them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::engine::{Receipt, SendError};
use crate::handler::Services;
use crate::telemetry::Telemetry;
use crate::{AgentId, BoxError, DataTypes, Draft, Message, Timestamp};

/// Receives messages from the host.
///
/// One task owns each receiver, so every method has `&mut self` and no lock is needed. The methods run one at a time; the events of one
/// agent are delivered in order. A receiver only classifies an error; retries, backoff and dead letters are the host's work.
///
/// A future of any of these methods may be dropped before it completes: when it exceeds its time limit, when the receiver is replaced,
/// or when the host stops. The receiver is then dropped too, and a new one is built; the events in flight are delivered again. So a
/// receiver stores by [message id](Message::id), and storing a message twice has the effect of storing it once.
#[async_trait]
#[diagnostic::on_unimplemented(note = "a receiver implements `poa_core::Receiver`")]
pub trait Receiver: Send + 'static {
    /// Called once, before anything else: the place to spawn tasks and open connections that live as long as the receiver. Tasks end
    /// when [`ReceiverContext::shutdown`] fires or the receiver is dropped.
    ///
    /// # Errors
    /// An error ends this instance; the host builds a new one after an increasing wait.
    async fn start(&mut self, cx: ReceiverContext) -> Result<(), DeliveryError> {
        let _ = cx;
        Ok(())
    }

    /// Messages of the subscribed data types, oldest first, at least one. Returning `Ok` confirms all of them.
    ///
    /// # Errors
    /// See [`DeliveryError`]. Unless the error says otherwise, no message counts as delivered.
    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError>;

    /// Agents that became inactive, at least one: they were silent for too long, or left.
    ///
    /// # Errors
    /// As for [`metrics_received`](Self::metrics_received).
    async fn handle_inactive(&mut self, agents: &[Activity]) -> Result<(), DeliveryError> {
        let _ = agents;
        Ok(())
    }

    /// Agents that became active, at least one: heard for the first time, or again after a silence.
    ///
    /// A receiver that is rebuilt while the host runs is first told which agents are active at that time, and since when. Changes in
    /// the backlog of its predecessor follow, so it may receive some twice.
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
    /// An error is logged and has no other effect.
    async fn handle_message(&mut self, message: ControlMessage) -> Result<(), DeliveryError> {
        let _ = message;
        Ok(())
    }

    /// The last call: flush and close. Its time is limited.
    async fn terminate(&mut self) {}

    /// The address of this receiver, if it listens: `ws://127.0.0.1:8181/ws`.
    fn endpoints(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The interface of a host to a running receiver. Cloning is cheap.
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

    /// The registry for counters and gauges.
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

    /// Tells every receiver that an agent is inactive, unless they were told already.
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
    /// The time at which the state changed.
    pub since: Timestamp,
}

impl Activity {
    /// An agent that became active or inactive at `since`.
    #[must_use]
    pub fn new(agent_id: AgentId, active: bool, since: Timestamp) -> Self {
        Self { agent_id, active, since }
    }
}

/// A notification of the host about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ControlMessage {
    /// The host is stopping. The backlog will be delivered, then [`Receiver::terminate`] is called.
    Stopping,
}

/// The reason why messages were not delivered. The receiver knows its destination, so it decides which errors are transient.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// A transient error: connection lost, table locked, throttled. The host retries the batch with increasing waits.
    #[error("not delivered, a retry may succeed")]
    Transient {
        /// The cause.
        #[source]
        source: BoxError,
        /// The wait that the destination asked for, if any.
        retry_after: Option<Duration>,
    },
    /// An error that lasts until the configuration or the destination is corrected: wrong credentials, a table or path that does not
    /// exist. The host retries the batch with the longest wait, and reports the receiver as misconfigured in `/status`.
    #[error("not delivered, the configuration is wrong")]
    Misconfigured(#[source] BoxError),
    /// A permanent error for these items of the batch (by index). Without any index: for some of them, which the host isolates by
    /// delivering the halves.
    #[error("not deliverable")]
    Permanent {
        /// The items that cannot be delivered; empty if the receiver cannot identify them.
        items: Vec<usize>,
        /// The cause.
        #[source]
        source: BoxError,
    },
    /// These items of the batch cannot be delivered; all others are delivered, and are not delivered again.
    #[error("{} messages of the batch were rejected", .0.len())]
    Rejected(Vec<Rejected>),
}

/// A message of a batch that cannot be delivered, while others of the batch were.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rejected {
    /// Its index in the batch.
    pub item: usize,
    /// The reason.
    pub reason: String,
}

impl Rejected {
    /// The message of this index was rejected for this reason.
    pub fn new(item: usize, reason: impl Into<String>) -> Self {
        Self { item, reason: reason.into() }
    }
}

impl DeliveryError {
    /// A transient error.
    pub fn transient(source: impl Into<BoxError>) -> Self {
        Self::Transient { source: source.into(), retry_after: None }
    }

    /// A transient error; the destination asked for this wait.
    pub fn transient_after(wait: Duration, source: impl Into<BoxError>) -> Self {
        Self::Transient { source: source.into(), retry_after: Some(wait) }
    }

    /// An error that lasts until the configuration or the destination is corrected.
    pub fn misconfigured(source: impl Into<BoxError>) -> Self {
        Self::Misconfigured(source.into())
    }

    /// Some messages of the batch cannot be delivered, and the receiver cannot identify them.
    pub fn permanent(source: impl Into<BoxError>) -> Self {
        Self::Permanent { items: Vec::new(), source: source.into() }
    }

    /// These messages of the batch cannot be delivered.
    pub fn permanent_for(items: Vec<usize>, source: impl Into<BoxError>) -> Self {
        Self::Permanent { items, source: source.into() }
    }

    /// These messages of the batch cannot be delivered; all others are delivered.
    #[must_use]
    pub fn rejected(items: Vec<Rejected>) -> Self {
        Self::Rejected(items)
    }
}
