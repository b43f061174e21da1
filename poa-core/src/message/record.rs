//! The content of drafts and messages.

use std::net::IpAddr;
use std::sync::Arc;

use super::MessageType;
use crate::idempotency::Fingerprint;
use crate::{
    AgentId, Assigns, DataType, Extensions, IdempotencyKey, MessageId, Payload, Timestamp,
};

/// A draft, or a message. It is allocated when the draft is made, outside of every lock, and never moves.
#[derive(Clone)]
pub(super) struct Record {
    /// Of messages only.
    pub(super) id: MessageId,
    /// Of messages only.
    pub(super) received_at: Timestamp,
    pub(super) agent_id: AgentId,
    pub(super) data_type: DataType,
    pub(super) message_type: MessageType,
    pub(super) payload: Payload,
    pub(super) key: Option<IdempotencyKey>,
    /// Of the content, if there is a key.
    pub(super) fingerprint: Fingerprint,
    pub(super) assigns: Assigns,
    pub(super) extensions: Option<Box<Extensions>>,
    pub(super) sender: Option<Arc<str>>,
    pub(super) address: Option<IpAddr>,
    /// See [`Message::footprint`](super::Message::footprint); asked for several times on the way of each message.
    pub(super) footprint: usize,
}

/// The facts that an engine stores besides the agent, the data type and the payload.
pub(crate) struct Stored {
    pub(crate) id: MessageId,
    pub(crate) received_at: Timestamp,
    pub(crate) message_type: MessageType,
    pub(crate) key: Option<IdempotencyKey>,
    pub(crate) assigns: Assigns,
}

impl Stored {
    /// That of a draft.
    pub(super) fn nothing() -> Self {
        Self {
            id: MessageId::from_bytes([0; 16]),
            received_at: Timestamp::from_micros(0),
            message_type: MessageType::Data,
            key: None,
            assigns: Assigns::new(),
        }
    }
}

impl Record {
    pub(super) fn new(
        agent_id: AgentId,
        data_type: DataType,
        payload: Payload,
        stored: Stored,
    ) -> Self {
        let mut record = Self {
            id: stored.id,
            received_at: stored.received_at,
            agent_id,
            data_type,
            message_type: stored.message_type,
            payload,
            key: stored.key,
            fingerprint: Fingerprint::NONE,
            assigns: stored.assigns,
            extensions: None,
            sender: None,
            address: None,
            footprint: 0,
        };
        record.measure();
        record
    }

    /// Sets the footprint, after a change of what it counts.
    pub(super) fn measure(&mut self) {
        const OVERHEAD: usize = size_of::<Record>() + 64;
        let content = self.agent_id.as_str().len() + self.payload.bytes().len();
        self.footprint = OVERHEAD + content + self.assigns.size();
    }
}
