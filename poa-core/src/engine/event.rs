//! The events that subscriptions deliver.

use super::TypeSet;
use crate::{Activity, AgentId, Message, Timestamp};

/// An entry of the bus.
///
/// See [`encode`](super::encode) for an example.
#[derive(Clone, Debug)]
pub enum Event {
    /// A message, for the subscriptions of its data type.
    Message(Message),
    /// An agent changed its state; for every subscription.
    Activity(Activity),
}

/// Events that are delivered together, oldest first, each with its position.
///
/// See [`Engine`](super::Engine) for an example.
pub type Batch = Vec<(u64, Event)>;

impl Event {
    /// Whether a subscription of these types gets this event.
    #[must_use]
    #[inline]
    pub fn is_for(&self, types: TypeSet) -> bool {
        match self {
            Self::Message(message) => types.contains(message.data_type()),
            Self::Activity(_) => true,
        }
    }

    /// The agent that sent the message, or whose state changed.
    #[must_use]
    #[inline]
    pub fn agent_id(&self) -> &AgentId {
        match self {
            Self::Message(message) => message.agent_id(),
            Self::Activity(change) => &change.agent_id,
        }
    }

    /// When the message was received, or the state changed.
    #[must_use]
    #[inline]
    pub fn since(&self) -> Timestamp {
        match self {
            Self::Message(message) => message.received_at(),
            Self::Activity(change) => change.since,
        }
    }

    /// Approximately the bytes of memory that the event takes; backlogs and batches are measured in
    /// these.
    #[must_use]
    #[inline]
    pub fn footprint(&self) -> usize {
        match self {
            Self::Message(message) => message.footprint(),
            Self::Activity(change) => size_of::<Self>() + change.agent_id.as_str().len(),
        }
    }
}
