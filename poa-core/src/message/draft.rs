//! The messages that handlers send.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::MessageType;
use super::record::{Record, Stored};
use crate::idempotency::Fingerprint;
use crate::{AgentId, Assigns, DataType, IdempotencyKey, Payload};

/// A message before the host has accepted it, as a handler creates it.
///
/// Cloning is cheap: clones share one allocation until one of them is changed or accepted.
///
/// ```
/// use poa_core::{AgentId, Assigns, DataTypes, Draft, IdempotencyKey, MessageType, Payload};
///
/// # let types = DataTypes::new(["readings"])?;
/// # let readings = types.get("readings").expect("declared above").clone();
/// let pump = AgentId::new("pump-7")?;
/// let key = IdempotencyKey::new(&pump, "reading-42")?;
/// let draft = Draft::new(pump.clone(), readings.clone(), Payload::json(&serde_json::json!({"bar": 3.2}))?)
///     .with_idempotency_key(key) // sent twice, accepted once
///     .with_assigns(Assigns::new().with("site", "north")?);
/// assert_eq!(draft.message_type(), MessageType::Data);
///
/// let leaves = Draft::new(pump, readings, Payload::json(&serde_json::json!({"reason": "maintenance"}))?)
///     .with_message_type(MessageType::Bye);
/// # assert_eq!(leaves.message_type(), MessageType::Bye);
/// # Ok::<(), poa_core::BoxError>(())
/// ```
#[derive(Clone)]
pub struct Draft(pub(super) Arc<Record>);

impl Draft {
    /// A message of `agent_id` with data.
    #[must_use]
    pub fn new(agent_id: AgentId, data_type: DataType, payload: Payload) -> Self {
        Self(Arc::new(Record::new(agent_id, data_type, payload, Stored::nothing())))
    }

    /// The same message, changed. A record that clones share is copied first.
    pub(super) fn with(mut self, change: impl FnOnce(&mut Record)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// The same message, sent by this user: its share of the backlog and of the deduplication window counts for the user. Without a
    /// user, it counts for the agent. The user is not stored with the message.
    #[must_use]
    pub fn with_sender(self, user: Arc<str>) -> Self {
        self.with(|record| record.sender = Some(user))
    }

    /// The same message, sent from this address, for the rate limit of the address. The address is not stored with the message.
    #[must_use]
    pub fn with_address(self, address: IpAddr) -> Self {
        self.with(|record| record.address = Some(address))
    }

    /// The same message with content of this type.
    #[must_use]
    pub fn with_message_type(self, message_type: MessageType) -> Self {
        self.with(|record| record.message_type = message_type)
    }

    /// The same message with a key. The host accepts only one message of each key within the deduplication window, and refuses one
    /// with different content.
    #[must_use]
    pub fn with_idempotency_key(self, key: IdempotencyKey) -> Self {
        self.with(|record| {
            record.fingerprint = Fingerprint::of(record.data_type.name(), record.payload.bytes());
            record.key = Some(key);
        })
    }

    /// The same message with these assigns, which are stored with it.
    #[must_use]
    pub fn with_assigns(self, assigns: Assigns) -> Self {
        self.with(|record| {
            record.assigns = assigns;
            record.measure();
        })
    }

    /// The same message with a value for plugins in this process that know `T`.
    ///
    /// Extensions are kept in memory only: a message read back from the engine has none. Use an [assign](Self::with_assigns) for a
    /// value that must survive.
    #[must_use]
    pub fn with_extension<T: std::any::Any + Send + Sync>(self, value: T) -> Self {
        self.with(|record| {
            record.extensions.get_or_insert_default().insert(value);
        })
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

    /// The payload.
    #[must_use]
    #[inline]
    pub fn payload(&self) -> &Payload {
        &self.0.payload
    }

    /// The idempotency key, which identifies a message that is sent again.
    #[must_use]
    #[inline]
    pub fn idempotency_key(&self) -> Option<IdempotencyKey> {
        self.0.key
    }

    /// Distinguishes this message from another one with the same idempotency key; the same for all messages without a key.
    #[must_use]
    #[inline]
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint
    }

    /// The user who sent it, if known.
    #[must_use]
    #[inline]
    pub fn sender(&self) -> Option<&str> {
        self.0.sender.as_deref()
    }

    /// The address from which it was sent, if known.
    #[must_use]
    #[inline]
    pub fn address(&self) -> Option<IpAddr> {
        self.0.address
    }

    /// Values that plugins added to the message, stored with it.
    #[must_use]
    #[inline]
    pub fn assigns(&self) -> &Assigns {
        &self.0.assigns
    }

    /// The value of type `T` that [`with_extension`](Self::with_extension) attached, if any.
    #[must_use]
    pub fn extension<T: std::any::Any>(&self) -> Option<&T> {
        self.0.extensions.as_ref()?.get()
    }

    /// Approximately the bytes of memory that the message will take.
    #[must_use]
    #[inline]
    pub fn footprint(&self) -> usize {
        self.0.footprint
    }
}

impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draft")
            .field("agent_id", self.agent_id())
            .field("data_type", self.data_type())
            .field("message_type", &self.message_type())
            .field("payload", self.payload())
            .finish_non_exhaustive()
    }
}
