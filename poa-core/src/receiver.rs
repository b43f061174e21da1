//! The outward side: what stores messages, shows them or passes them on.

use async_trait::async_trait;

use crate::{AgentId, BoxError, Message, Timestamp};

/// Takes messages out of the host.
///
/// One task owns each receiver, so every method has `&mut self` and no lock is needed. The methods run one at a time, in the
/// order things happened. An error is only classified here; retries, backoff and dead letters are the host's work.
///
/// A future of any of these methods may be dropped before it ends, when it takes longer than its time or when the host stops.
/// The receiver is then dropped too, and built anew; what was in hand is delivered again. So a receiver stores by
/// [message id](Message::id), and storing twice is storing once.
#[async_trait]
#[diagnostic::on_unimplemented(note = "a receiver implements `poa_core::Receiver`")]
pub trait Receiver: Send + 'static {
    /// Messages of the subscribed data types, oldest first, at least one. Returning `Ok` confirms all of them.
    ///
    /// # Errors
    /// [`DeliveryError::Transient`] to get the same messages again later; [`DeliveryError::Permanent`] when some of them can
    /// never be delivered. In both cases nothing counts as delivered.
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
    /// A receiver that was built anew while the host runs is told first who is active at that time, since when they are. Changes that
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
    /// It may work later: connection lost, table locked, throttled.
    #[error("not delivered for now")]
    Transient(#[source] BoxError),
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
}

impl DeliveryError {
    /// It may work later.
    pub fn transient(source: impl Into<BoxError>) -> Self {
        Self::Transient(source.into())
    }

    /// Some messages of the batch can never be delivered, and the receiver cannot tell which.
    pub fn permanent(source: impl Into<BoxError>) -> Self {
        Self::Permanent { items: Vec::new(), source: source.into() }
    }

    /// These messages of the batch can never be delivered.
    pub fn permanent_for(items: Vec<usize>, source: impl Into<BoxError>) -> Self {
        Self::Permanent { items, source: source.into() }
    }
}
