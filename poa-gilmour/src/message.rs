//! Results: a message has data and a code, a response has messages.

use serde::Serialize;
use serde::ser::{SerializeStruct as _, Serializer};

use crate::Data;

/// Success, the only code after which compositions continue.
pub const OK: i64 = 200;
/// A composition that cannot be evaluated: a merge into what is not an object.
pub const BAD_REQUEST: i64 = 400;
/// Nothing subscribed to the topic.
pub const NO_SUBSCRIBER: i64 = 404;
/// The broker carries no message of this size.
pub const TOO_LARGE: i64 = 413;
/// The time was over.
pub const TIMED_OUT: i64 = 499;
/// The handler failed.
pub const FAILED: i64 = 500;
/// The handler gave no usable answer.
pub const BAD_ANSWER: i64 = 502;
/// The broker cannot be reached, or too much is under way.
pub const UNAVAILABLE: i64 = 503;

/// The data of a timeout, as peers of the first library send it.
pub const TIMEOUT_TEXT: &str = "Execution timed out";

/// A reply: data, and a code like one of HTTP. A code of 0 reads as 200.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The payload.
    pub data: Data,
    /// The code. Any number a peer may send.
    pub code: i64,
}

impl Message {
    /// A message.
    #[must_use]
    pub fn new(data: Data, code: i64) -> Self {
        Self { data, code }
    }

    /// Success.
    #[must_use]
    pub fn ok(data: Data) -> Self {
        Self::new(data, OK)
    }

    /// A failure with a sentence for data.
    #[must_use]
    pub fn failure(code: i64, text: &str) -> Self {
        Self::new(Data::text(text), code)
    }

    /// A timeout, with this code.
    #[must_use]
    pub fn timeout(code: i64) -> Self {
        Self::failure(code, TIMEOUT_TEXT)
    }

    /// The code as people are shown it: 0 is 200.
    #[must_use]
    pub fn shown_code(&self) -> i64 {
        if self.code == 0 { OK } else { self.code }
    }

    /// Whether a composition continues after it: the code is 200 exactly.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.shown_code() == OK
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut message = serializer.serialize_struct("Message", 2)?;
        message.serialize_field("data", &self.data)?;
        message.serialize_field("code", &self.shown_code())?;
        message.end()
    }
}

/// The result of a request or a composition: messages in the order of their steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    messages: Vec<Message>,
}

impl Response {
    /// A response of one message.
    #[must_use]
    pub fn single(message: Message) -> Self {
        Self { messages: vec![message] }
    }

    pub(crate) fn of(messages: Vec<Message>) -> Self {
        Self { messages }
    }

    /// The messages.
    #[must_use]
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// The largest code; 200 when there is no message.
    #[must_use]
    pub fn code(&self) -> i64 {
        self.messages.iter().map(Message::shown_code).max().unwrap_or(OK)
    }

    /// Whether a composition continues after it.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.code() == OK
    }

    /// The same as one message: of several, the array of their data, without their codes.
    #[must_use]
    pub fn inflate(mut self) -> Message {
        let code = self.code();
        if self.messages.len() == 1
            && let Some(message) = self.messages.pop()
        {
            return Message { code, ..message };
        }
        Message::new(self.data(), code)
    }

    /// The data alone: that of the only message, or an array.
    #[must_use]
    pub fn data(&self) -> Data {
        match &self.messages[..] {
            [only] => only.data.clone(),
            several => {
                let each: Vec<_> = several.iter().map(|message| message.data.clone()).collect();
                Data::array(&each)
            }
        }
    }
}

/// As the gateway answers it: `messages`, `code`, `length`.
impl Serialize for Response {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut response = serializer.serialize_struct("Response", 3)?;
        response.serialize_field("messages", &self.messages)?;
        response.serialize_field("code", &self.code())?;
        response.serialize_field("length", &self.messages.len())?;
        response.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(codes: &[i64]) -> Response {
        Response::of(codes.iter().map(|code| Message::new(Data::text("x"), *code)).collect())
    }

    #[test]
    fn the_code_of_a_response_is_the_largest() {
        assert_eq!(response(&[404, 503, 200]).code(), 503);
        assert_eq!((response(&[0]).code(), response(&[]).code()), (200, 200));
        assert!(response(&[0, 200]).is_success() && !response(&[201]).is_success());
    }

    #[test]
    fn several_messages_inflate_to_an_array() {
        let inflated = response(&[200, 404]).inflate();
        assert_eq!((inflated.data.json(), inflated.code), (r#"["x","x"]"#, 404));
        let one = response(&[0]).inflate();
        assert_eq!((one.data.json(), one.code), (r#""x""#, 200));
        assert_eq!(response(&[]).inflate().data.json(), "[]");
    }

    #[test]
    fn is_shown_in_the_documented_form() {
        let shown = serde_json::to_string(&response(&[0, 503])).unwrap();
        let messages = r#"{"messages":[{"data":"x","code":200},{"data":"x","code":503}],"#;
        assert_eq!(shown, format!(r#"{messages}"code":503,"length":2}}"#));
    }
}
