//! What handlers send and receivers get.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::idempotency::Fingerprint;
use crate::{
    AgentId, Assigns, DataType, Extensions, IdempotencyKey, MessageId, Payload, Timestamp,
};

/// What a message says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MessageType {
    /// A metric.
    #[default]
    Data,
    /// The agent takes its leave.
    Bye,
}

/// A message before the host has taken it: what a handler makes of what it heard.
#[derive(Clone, Debug)]
pub struct Draft {
    pub(crate) agent_id: AgentId,
    pub(crate) data_type: DataType,
    pub(crate) message_type: MessageType,
    pub(crate) payload: Payload,
    pub(crate) key: Option<IdempotencyKey>,
    /// Of what was said, if there is a key.
    pub(crate) fingerprint: Fingerprint,
    assigns: Assigns,
    extensions: Option<Box<Extensions>>,
    sender: Option<Arc<str>>,
    address: Option<IpAddr>,
}

impl Draft {
    /// A metric of `agent_id`.
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

    /// The same message, sent by this user: what it takes of the backlog and of the window of idempotency keys counts for the user.
    /// Without one, it counts for the agent. It is not kept with the message.
    #[must_use]
    pub fn with_sender(mut self, user: Arc<str>) -> Self {
        self.sender = Some(user);
        self
    }

    /// The same message, sent from this address, for the rate of the address. It is not kept with the message.
    #[must_use]
    pub fn with_address(mut self, address: IpAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// The same message with another type.
    #[must_use]
    pub fn with_message_type(mut self, message_type: MessageType) -> Self {
        self.message_type = message_type;
        self
    }

    /// The same message with a key. The host takes only one message of each key, for as long as it remembers it, and refuses one
    /// that says something else.
    #[must_use]
    pub fn with_idempotency_key(mut self, key: IdempotencyKey) -> Self {
        self.fingerprint = Fingerprint::of(self.data_type.name(), self.payload.bytes());
        self.key = Some(key);
        self
    }

    /// The same message with these assigns, which are kept with it.
    #[must_use]
    pub fn with_assigns(mut self, assigns: Assigns) -> Self {
        self.assigns = assigns;
        self
    }

    /// The same message with a value for plugins of this process that know `T`.
    ///
    /// Extensions live in memory only: a message read back from the engine has none. What must survive is an
    /// [assign](Self::with_assigns).
    #[must_use]
    pub fn with_extension<T: std::any::Any + Send + Sync>(mut self, value: T) -> Self {
        self.extensions.get_or_insert_default().insert(value);
        self
    }

    /// Who sent it.
    #[must_use]
    pub fn agent_id(&self) -> &AgentId {
        &self.agent_id
    }

    /// The kind of metric.
    #[must_use]
    pub fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// What the message says.
    #[must_use]
    pub fn message_type(&self) -> MessageType {
        self.message_type
    }

    /// The metric itself.
    #[must_use]
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// What tells this message from one that is sent again.
    #[must_use]
    pub fn idempotency_key(&self) -> Option<IdempotencyKey> {
        self.key
    }

    /// Tells this message from another one with the same idempotency key; the same for all messages without a key.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The user who sent it, if one is known.
    #[must_use]
    pub fn sender(&self) -> Option<&str> {
        self.sender.as_deref()
    }

    /// The address it was sent from, if one is known.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Values that plugins add to the message, kept with it.
    #[must_use]
    pub fn assigns(&self) -> &Assigns {
        &self.assigns
    }

    /// About how many bytes of memory the message will take.
    #[must_use]
    pub fn footprint(&self) -> usize {
        const OVERHEAD: usize = size_of::<Stamped>() + 64;
        OVERHEAD + self.agent_id.as_str().len() + self.payload.bytes().len() + self.assigns.size()
    }
}

/// A message as receivers see it.
///
/// Cloning is cheap: clones share one allocation, and the payload is never copied.
#[derive(Clone)]
pub struct Message(Arc<Stamped>);

struct Stamped {
    id: MessageId,
    received_at: Timestamp,
    draft: Draft,
}

impl Message {
    /// Adds what the host adds: the id and the time of receipt.
    ///
    /// The bus does this for every message sent; tests of receivers do it by hand.
    #[must_use]
    pub fn stamp(draft: Draft, id: MessageId, received_at: Timestamp) -> Self {
        Self(Arc::new(Stamped { id, received_at, draft }))
    }

    /// The unique id, which sorts by time.
    #[must_use]
    pub fn id(&self) -> MessageId {
        self.0.id
    }

    /// When the host took the message.
    #[must_use]
    pub fn received_at(&self) -> Timestamp {
        self.0.received_at
    }

    /// Who sent it.
    #[must_use]
    pub fn agent_id(&self) -> &AgentId {
        &self.0.draft.agent_id
    }

    /// The kind of metric.
    #[must_use]
    pub fn data_type(&self) -> &DataType {
        &self.0.draft.data_type
    }

    /// What the message says.
    #[must_use]
    pub fn message_type(&self) -> MessageType {
        self.0.draft.message_type
    }

    /// What tells this message from one that is sent again.
    #[must_use]
    pub fn idempotency_key(&self) -> Option<IdempotencyKey> {
        self.0.draft.key
    }

    /// As [`Draft::fingerprint`].
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.draft.fingerprint
    }

    /// The metric itself, as the agent sent it.
    #[must_use]
    pub fn payload(&self) -> &Payload {
        &self.0.draft.payload
    }

    /// Values that plugins added to the message.
    #[must_use]
    pub fn assigns(&self) -> &Assigns {
        &self.0.draft.assigns
    }

    /// The value of type `T` that a plugin of this process attached, if any.
    #[must_use]
    pub fn extension<T: std::any::Any>(&self) -> Option<&T> {
        self.0.draft.extensions.as_ref()?.get()
    }

    /// The memory this message holds, in bytes, roughly.
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
