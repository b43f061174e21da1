//! The spans of a message as they wait for their export.

use std::sync::Arc;

use poa_core::{AgentId, DataType, SenderSpan, Timestamp};

use crate::sample::Traced;

/// The longest text of an error in a span, in bytes.
const LONGEST_ERROR: usize = 1024;

/// A span of a message. Small, and never with the payload: many wait in a queue.
#[derive(Debug)]
pub(crate) struct Span {
    pub(crate) traced: Traced,
    pub(crate) data_type: DataType,
    pub(crate) began_at: Timestamp,
    pub(crate) ended_at: Timestamp,
    pub(crate) part: Part,
}

/// A part of a message's way.
#[derive(Debug)]
pub(crate) enum Part {
    /// From a handler to the acknowledgement.
    Publish {
        agent_id: AgentId,
        bytes: usize,
        sender_span: Option<Box<SenderSpan>>,
        error: Option<String>,
    },
    /// One attempt of a receiver, after the message has waited.
    Deliver { call: Arc<Call>, received_at: Timestamp },
    /// The message became a dead letter.
    DeadLetter { receiver: String, reason: String },
}

/// One call of a receiver, which the spans of its messages share.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) receiver: String,
    /// The number of messages in the call.
    pub(crate) batch: usize,
    pub(crate) number: u32,
    pub(crate) error: Option<String>,
}

/// The text of an error, shortened if it is very long.
pub(crate) fn error_text(text: &str) -> String {
    let mut end = text.len().min(LONGEST_ERROR);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
