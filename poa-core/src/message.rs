//! The messages that handlers send and receivers get.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::idempotency::Fingerprint;
use crate::{
    AgentId, Assigns, DataType, Extensions, IdempotencyKey, MessageId, Payload, Timestamp,
};

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

/// A message before the host has accepted it, as a handler creates it.
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
#[derive(Clone, Debug)]
pub struct Draft {
    pub(crate) agent_id: AgentId,
    pub(crate) data_type: DataType,
    pub(crate) message_type: MessageType,
    pub(crate) payload: Payload,
    pub(crate) key: Option<IdempotencyKey>,
    /// Of the content, if there is a key.
    pub(crate) fingerprint: Fingerprint,
    assigns: Assigns,
    extensions: Option<Box<Extensions>>,
    sender: Option<Arc<str>>,
    address: Option<IpAddr>,
}

impl Draft {
    /// A message of `agent_id` with data.
    #[must_use]
    pub fn new(agent_id: AgentId, data_type: DataType, payload: Payload) -> Self {
        let message_type = MessageType::Data;
        let (key, fingerprint) = (None, Fingerprint::NONE);
        Self {
            agent_id,
            data_type,
            message_type,
            payload,
            key,
            fingerprint,
            assigns: Assigns::new(),
            extensions: None,
            sender: None,
            address: None,
        }
    }

    /// The same message, sent by this user: its share of the backlog and of the deduplication window counts for the user. Without a
    /// user, it counts for the agent. The user is not stored with the message.
    #[must_use]
    pub fn with_sender(mut self, user: Arc<str>) -> Self {
        self.sender = Some(user);
        self
    }

    /// The same message, sent from this address, for the rate limit of the address. The address is not stored with the message.
    #[must_use]
    pub fn with_address(mut self, address: IpAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// The same message with another data type.
    #[must_use]
    pub fn with_message_type(mut self, message_type: MessageType) -> Self {
        self.message_type = message_type;
        self
    }

    /// The same message with a key. The host accepts only one message of each key within the deduplication window, and refuses one
    /// with different content.
    #[must_use]
    pub fn with_idempotency_key(mut self, key: IdempotencyKey) -> Self {
        self.fingerprint = Fingerprint::of(self.data_type.name(), self.payload.bytes());
        self.key = Some(key);
        self
    }

    /// The same message with these assigns, which are stored with it.
    #[must_use]
    pub fn with_assigns(mut self, assigns: Assigns) -> Self {
        self.assigns = assigns;
        self
    }

    /// The same message with a value for plugins in this process that know `T`.
    ///
    /// Extensions are kept in memory only: a message read back from the engine has none. Use an [assign](Self::with_assigns) for a
    /// value that must survive.
    #[must_use]
    pub fn with_extension<T: std::any::Any + Send + Sync>(mut self, value: T) -> Self {
        self.extensions.get_or_insert_default().insert(value);
        self
    }

    /// The agent that sent it.
    #[must_use]
    pub fn agent_id(&self) -> &AgentId {
        &self.agent_id
    }

    /// The data type.
    #[must_use]
    pub fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// The content of the message.
    #[must_use]
    pub fn message_type(&self) -> MessageType {
        self.message_type
    }

    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// The idempotency key, which identifies a message that is sent again.
    #[must_use]
    pub fn idempotency_key(&self) -> Option<IdempotencyKey> {
        self.key
    }

    /// Distinguishes this message from another one with the same idempotency key; the same for all messages without a key.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The user who sent it, if known.
    #[must_use]
    pub fn sender(&self) -> Option<&str> {
        self.sender.as_deref()
    }

    /// The address from which it was sent, if known.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Values that plugins added to the message, stored with it.
    #[must_use]
    pub fn assigns(&self) -> &Assigns {
        &self.assigns
    }

    /// The value of type `T` that [`with_extension`](Self::with_extension) attached, if any.
    #[must_use]
    pub fn extension<T: std::any::Any>(&self) -> Option<&T> {
        self.extensions.as_ref()?.get()
    }

    /// Approximately the bytes of memory that the message will take.
    #[must_use]
    pub fn footprint(&self) -> usize {
        const OVERHEAD: usize = size_of::<Stamped>() + 64;
        OVERHEAD + self.agent_id.as_str().len() + self.payload.bytes().len() + self.assigns.size()
    }
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
pub struct Message(Arc<Stamped>);

struct Stamped {
    id: MessageId,
    received_at: Timestamp,
    draft: Draft,
}

impl Message {
    /// Adds the id and the time of receipt.
    ///
    /// The bus does this for every message sent; tests of receivers do it themselves.
    #[must_use]
    pub fn stamp(draft: Draft, id: MessageId, received_at: Timestamp) -> Self {
        Self(Arc::new(Stamped { id, received_at, draft }))
    }

    /// The unique id, which sorts by time.
    #[must_use]
    pub fn id(&self) -> MessageId {
        self.0.id
    }

    /// The time at which the host received the message.
    #[must_use]
    pub fn received_at(&self) -> Timestamp {
        self.0.received_at
    }

    /// The agent that sent it.
    #[must_use]
    pub fn agent_id(&self) -> &AgentId {
        &self.0.draft.agent_id
    }

    /// The data type.
    #[must_use]
    pub fn data_type(&self) -> &DataType {
        &self.0.draft.data_type
    }

    /// The content of the message.
    #[must_use]
    pub fn message_type(&self) -> MessageType {
        self.0.draft.message_type
    }

    /// The idempotency key, which identifies a message that is sent again.
    #[must_use]
    pub fn idempotency_key(&self) -> Option<IdempotencyKey> {
        self.0.draft.key
    }

    /// As [`Draft::fingerprint`].
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.draft.fingerprint
    }

    /// The payload, as the agent sent it.
    #[must_use]
    pub fn payload(&self) -> &Payload {
        &self.0.draft.payload
    }

    /// Values that plugins added to the message.
    #[must_use]
    pub fn assigns(&self) -> &Assigns {
        &self.0.draft.assigns
    }

    /// The value of type `T` that a plugin in this process attached, if any.
    #[must_use]
    pub fn extension<T: std::any::Any>(&self) -> Option<&T> {
        self.0.draft.extension()
    }

    /// Approximately the memory of this message, in bytes.
    #[must_use]
    pub fn footprint(&self) -> usize {
        self.0.draft.footprint()
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
