//! Data lent to a receiver: messages and changes, with a view of them in C types.

use poa_core::{Activity, Format, Message, MessageType};

use crate::abi::{self, Bytes};

/// Messages and their view.
pub(crate) struct LentBatch {
    _messages: Box<[Message]>,
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
        let views: Box<[_]> = messages.iter().map(view).collect();
        let view = abi::Batch {
            size: size_of::<abi::Batch>(),
            messages: views.as_ptr(),
            count: views.len(),
            stride: size_of::<abi::Message>(),
        };
        Self { _messages: messages, _views: views, view }
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
