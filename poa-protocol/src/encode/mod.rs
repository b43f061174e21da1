mod json;
mod msgpack;

use std::borrow::Cow;

use crate::{Reference, Refusal};

/// The body of every successful REST response except that to a batch.
pub const SUCCESS: &str = r#"{"result":"success"}"#;

/// The body of the successful response to a batch of `count` items.
#[must_use]
pub fn accepted(count: usize) -> String {
    format!(r#"{{"result":"success","accepted":{count}}}"#)
}

impl Refusal {
    /// The JSON body of the HTTP response: `error` and `message`, on 401 only `error`.
    #[must_use]
    pub fn body(&self) -> Cow<'static, str> {
        match self {
            Self::Unauthorized => Cow::Borrowed(r#"{"error":"unauthorized"}"#),
            Self::TokenExpired => Cow::Borrowed(r#"{"error":"token_expired"}"#),
            _ => {
                let mut body = format!(r#"{{"error":"{}","message":"#, self.code());
                json::push_string(&mut body, &self.to_string());
                body.push('}');
                Cow::Owned(body)
            }
        }
    }
}

/// The result of a WebSocket call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome<'o> {
    /// A ping, data or bye was accepted; the payload is an empty object.
    Done,
    /// A session was opened with this token.
    Token(&'o str),
    /// The call was refused.
    Refused(&'o Refusal),
}

/// A WebSocket message in the format of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A text frame with JSON.
    Text(String),
    /// A binary frame with MessagePack.
    Binary(Vec<u8>),
}

/// Encodes the response to a WebSocket call: `result`, `ref` as it was sent (null if it was not),
/// `payload`.
#[must_use]
pub fn answer(reference: &Reference<'_>, outcome: Outcome<'_>) -> Frame {
    match reference {
        Reference::Json(raw) => Frame::Text(json::answer(raw.as_deref(), outcome)),
        Reference::MessagePack(raw) => Frame::Binary(msgpack::answer(raw.as_deref(), outcome)),
    }
}
