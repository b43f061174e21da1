//! The format of a message in a tap.

use axum::body::Bytes;
use poa_core::{Message, MessageType};
use serde_json::json;
use serde_json::value::RawValue;

/// Longer data is not shown.
const MAX_DATA: usize = 16 << 10;

/// One line: the message, the receiver that got it, and the number of lines left out before it.
pub(super) fn line(receiver: &str, message: &Message, left_out: u64) -> Bytes {
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
    if message.payload().bytes().len() > MAX_DATA {
        return None;
    }
    RawValue::from_string(message.payload().to_json().ok()?.into_owned()).ok()
}
