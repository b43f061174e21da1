//! Data lent to a receiver: messages and changes, with a view of them in C types.

use poa_core::{Activity, Format, Message, MessageType};

use crate::abi::{self, Bytes};

/// Messages and their view.
pub(crate) struct LentBatch {
    _messages: Box<[Message]>,
    _extras: Vec<Extra>,
    _views: Box<[abi::Message]>,
    pub(crate) view: abi::Batch,
}

// SAFETY: it never changes, and the pointers lead to data that it owns.
unsafe impl Send for LentBatch {}
// SAFETY: as for `Send`.
unsafe impl Sync for LentBatch {}

impl LentBatch {
    /// Shares the messages, which is cheap.
    pub(crate) fn new(batch: &[Message]) -> Self {
        let messages: Box<[Message]> = batch.into();
        // A message is behind a pointer of its own, so the data these lead to never moves.
        let extras = Extra::of(&messages);
        let mut views: Box<[_]> = messages.iter().map(view).collect();
        for (view, extra) in views.iter_mut().zip(&extras) {
            view.key = extra.key.as_ref().map_or(Bytes::EMPTY, |key| Bytes::of(key));
            view.assigns = Bytes::of(extra.assigns.as_bytes());
        }
        let view = abi::Batch {
            size: size_of::<abi::Batch>(),
            messages: views.as_ptr(),
            count: views.len(),
            stride: size_of::<abi::Message>(),
        };
        Self { _messages: messages, _extras: extras, _views: views, view }
    }
}

/// The parts of a message that cross in another form than it has them.
struct Extra {
    key: Option<[u8; 16]>,
    assigns: String,
}

impl Extra {
    /// One for each message; empty when no message has such parts, as in most batches.
    fn of(messages: &[Message]) -> Vec<Self> {
        let plain = |one: &Message| one.idempotency_key().is_none() && one.assigns().is_empty();
        if messages.iter().all(plain) {
            return Vec::new();
        }
        let extra = |one: &Message| Self {
            key: one.idempotency_key().map(|key| *key.as_bytes()),
            assigns: one.assigns().to_json(),
        };
        messages.iter().map(extra).collect()
    }
}

fn view(message: &Message) -> abi::Message {
    abi::Message {
        id: *message.id().as_bytes(),
        received_at: message.received_at().as_micros(),
        agent_id: Bytes::of(message.agent_id().as_str().as_bytes()),
        data_type: Bytes::of(message.data_type().name().as_bytes()),
        message_type: match message.message_type() {
            MessageType::Bye => abi::POA_BYE,
            _ => abi::POA_DATA,
        },
        format: match message.payload().format() {
            Format::MessagePack => abi::POA_MESSAGE_PACK,
            _ => abi::POA_JSON,
        },
        payload: Bytes::of(message.payload().bytes()),
        key: Bytes::EMPTY,
        assigns: Bytes::EMPTY,
    }
}

/// Changes and their view.
pub(crate) struct LentActivities {
    _agents: Box<[Activity]>,
    _views: Box<[abi::Activity]>,
    pub(crate) view: abi::Activities,
}

// SAFETY: it never changes, and the pointers lead to data that it owns.
unsafe impl Send for LentActivities {}
// SAFETY: as for `Send`.
unsafe impl Sync for LentActivities {}

impl LentActivities {
    /// Shares the changes.
    pub(crate) fn new(agents: &[Activity]) -> Self {
        let agents: Box<[Activity]> = agents.into();
        let views: Box<[_]> = agents
            .iter()
            .map(|change| abi::Activity {
                agent_id: Bytes::of(change.agent_id.as_str().as_bytes()),
                since: change.since.as_micros(),
            })
            .collect();
        let view = abi::Activities {
            size: size_of::<abi::Activities>(),
            agents: views.as_ptr(),
            count: views.len(),
            stride: size_of::<abi::Activity>(),
        };
        Self { _agents: agents, _views: views, view }
    }
}
