//! The lines of a client: queued by deliveries, formatted by the client's own task.

use axum::body::Bytes;
use poa_core::{Message, MessageType};
use serde_json::json;
use serde_json::value::RawValue;

/// Longer data is not shown.
pub(super) const MAX_DATA: usize = 16 << 10;

/// A line in the queue of a client.
#[derive(Debug)]
pub(super) enum Line {
    Whole(Bytes),
    Message { receiver: Box<str>, message: Message, left_out: u64 },
}

impl Line {
    /// A message, the receiver that got it, and the number of messages left out before it.
    ///
    /// A long message is formatted at once: its data is not shown, and a queue of them would keep the data in memory.
    pub(super) fn of(receiver: &str, message: &Message, left_out: u64) -> Self {
        if is_long(message) {
            return Self::Whole(format(receiver, message, left_out));
        }
        Self::Message { receiver: receiver.into(), message: message.clone(), left_out }
    }

    pub(super) fn text(self) -> Bytes {
        match self {
            Self::Whole(text) => text,
            Self::Message { receiver, message, left_out } => format(&receiver, &message, left_out),
        }
    }
}

fn format(receiver: &str, message: &Message, left_out: u64) -> Bytes {
    let mut shown = json!({
        "received_at": message.received_at(),
        "id": message.id().to_string(),
        "receiver": receiver,
        "agent_id": message.agent_id().as_str(),
        "data_type": message.data_type().name(),
        "bytes": message.payload().bytes().len(),
        "data": data(message),
    });
    if message.message_type() == MessageType::Bye {
        shown["bye"] = true.into();
    }
    if left_out > 0 {
        shown["left_out"] = left_out.into();
    }
    let mut line = shown.to_string();
    line.push('\n');
    line.into()
}

/// The data; null if it is too long or cannot be shown.
fn data(message: &Message) -> Option<Box<RawValue>> {
    if is_long(message) {
        return None;
    }
    RawValue::from_string(message.payload().to_json().ok()?.into_owned()).ok()
}

fn is_long(message: &Message) -> bool {
    message.payload().bytes().len() > MAX_DATA
}
