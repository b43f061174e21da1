//! The messages that handlers send and receivers get.

mod draft;
mod record;

use std::fmt;
use std::sync::Arc;

pub use draft::Draft;
use record::Record;
pub(crate) use record::Stored;

use crate::idempotency::Fingerprint;
use crate::{AgentId, Assigns, DataType, IdempotencyKey, MessageId, Payload, Timestamp};

/// The content of a message.
///
/// See [`Draft`] for an example.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MessageType {
    /// Data of the message's data type.
    #[default]
    Data,
    /// The agent leaves.
    Bye,
}

/// A message as receivers see it.
///
/// Cloning is cheap: clones share one allocation, and the payload is never copied.
///
/// ```
/// use poa_core::engine::IdGenerator;
/// use poa_core::{AgentId, DataTypes, Draft, Message, Payload, Timestamp};
///
/// #[derive(serde::Deserialize)]
/// struct Reading {
///     bar: f64,
/// }
///
/// // A host makes messages of drafts; a test of a receiver does it by hand.
/// # let types = DataTypes::new(["readings"])?;
/// # let readings = types.get("readings").expect("declared above").clone();
/// let draft = Draft::new(AgentId::new("pump-7")?, readings, Payload::json(&serde_json::json!({"bar": 3.2}))?);
/// let now = Timestamp::now();
/// let message = Message::stamp(draft, IdGenerator::new().next(now), now);
///
/// // Each receiver reads the payload in the form that it needs.
/// assert_eq!(message.payload().read::<Reading>()?.bar, 3.2);
/// assert_eq!(message.payload().to_json()?, r#"{"bar":3.2}"#);
/// # Ok::<(), poa_core::BoxError>(())
/// ```
#[derive(Clone)]
pub struct Message(Arc<Record>);

impl Message {
    /// Adds the id and the time of receipt.
    ///
    /// The bus does this for every message sent; tests of receivers do it themselves.
    #[must_use]
    pub fn stamp(draft: Draft, id: MessageId, received_at: Timestamp) -> Self {
        let stamped = draft.with(|record| {
            record.id = id;
            record.received_at = received_at;
        });
        Self(stamped.0)
    }

    /// A message that was read back from an engine. Its fingerprint is not needed: its key is known already.
    pub(crate) fn restore(
        agent_id: AgentId,
        data_type: DataType,
        payload: Payload,
        stored: Stored,
    ) -> Self {
        Self(Arc::new(Record::new(agent_id, data_type, payload, stored)))
    }

    /// The unique id, which sorts by time.
    #[must_use]
    #[inline]
    pub fn id(&self) -> MessageId {
        self.0.id
    }

    /// The time at which the host received the message.
    #[must_use]
    #[inline]
    pub fn received_at(&self) -> Timestamp {
        self.0.received_at
    }

    /// The agent that sent it.
    #[must_use]
    #[inline]
    pub fn agent_id(&self) -> &AgentId {
        &self.0.agent_id
    }

    /// The data type.
    #[must_use]
    #[inline]
    pub fn data_type(&self) -> &DataType {
        &self.0.data_type
    }

    /// The content of the message.
    #[must_use]
    #[inline]
    pub fn message_type(&self) -> MessageType {
        self.0.message_type
    }

    /// The idempotency key, which identifies a message that is sent again.
    #[must_use]
    #[inline]
    pub fn idempotency_key(&self) -> Option<IdempotencyKey> {
        self.0.key
    }

    /// As [`Draft::fingerprint`].
    #[must_use]
    #[inline]
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint
    }

    /// The payload, as the agent sent it.
    #[must_use]
    #[inline]
    pub fn payload(&self) -> &Payload {
        &self.0.payload
    }

    /// Values that plugins added to the message.
    #[must_use]
    #[inline]
    pub fn assigns(&self) -> &Assigns {
        &self.0.assigns
    }

    /// The value of type `T` that a plugin in this process attached, if any.
    #[must_use]
    pub fn extension<T: std::any::Any>(&self) -> Option<&T> {
        self.0.extensions.as_ref()?.get()
    }

    /// Approximately the memory of this message, in bytes.
    #[must_use]
    #[inline]
    pub fn footprint(&self) -> usize {
        self.0.footprint
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("id", &self.id())
            .field("agent_id", self.agent_id())
            .field("data_type", self.data_type())
            .field("message_type", &self.message_type())
            .field("received_at", &self.received_at())
            .field("payload", self.payload())
            .finish()
    }
}
