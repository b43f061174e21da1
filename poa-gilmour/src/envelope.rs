//! The envelope of every message on the wire: `{"data": …, "code": …, "sender": …}`.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::Data;

/// The code that requests and signals carry. Receivers ignore it.
#[cfg(any(feature = "nats", feature = "redis"))]
pub(crate) const SENT: i64 = 200;

/// A message as it travels.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Envelope {
    /// The payload; absent reads as `null`.
    pub data: Data,
    /// The result code of a reply; what is not an integer reads as 0.
    pub code: i64,
    /// The address of the reply. Empty when it is missing or not a string.
    pub sender: String,
}

/// Why bytes are not an envelope.
#[derive(Debug, thiserror::Error)]
#[error("not a JSON object with `data`, `code` and `sender`")]
pub struct NotAnEnvelope(#[source] Option<serde_json::Error>);

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(default)]
    data: Option<Data>,
    #[serde(borrow, default)]
    code: Option<&'a RawValue>,
    #[serde(borrow, default)]
    sender: Option<&'a RawValue>,
}

impl Envelope {
    /// Reads what a peer sent. Fields that are not known are ignored, whatever their order.
    ///
    /// # Errors
    /// When it is not one JSON object in UTF-8, or a field stands twice.
    pub fn read(bytes: &[u8]) -> Result<Self, NotAnEnvelope> {
        // A structure may also be read from an array, which is not an envelope.
        if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
            return Err(NotAnEnvelope(None));
        }
        let wire: Wire<'_> =
            serde_json::from_slice(bytes).map_err(|error| NotAnEnvelope(Some(error)))?;
        let code = wire.code.and_then(|code| code.get().parse().ok()).unwrap_or(0);
        let sender = wire.sender.and_then(|sender| serde_json::from_str(sender.get()).ok());
        let data = wire.data.unwrap_or_else(Data::null);
        Ok(Self { data, code, sender: sender.unwrap_or_default() })
    }

    /// The bytes to send.
    #[must_use]
    pub fn write(&self) -> String {
        write(&self.data, self.code, &self.sender)
    }
}

/// The bytes of an envelope, without making one.
pub(crate) fn write(data: &Data, code: i64, sender: &str) -> String {
    #[derive(Serialize)]
    struct Borrowed<'a> {
        data: &'a Data,
        code: i64,
        sender: &'a str,
    }
    // Text, a number and JSON have a JSON form.
    serde_json::to_string(&Borrowed { data, code, sender }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<(String, i64, String)> {
        let envelope = Envelope::read(text.as_bytes()).ok()?;
        Some((envelope.data.json().to_owned(), envelope.code, envelope.sender))
    }

    #[test]
    fn what_peers_send_is_read() {
        let expected = Some((r#"{"a":1.50}"#.to_owned(), 200, "s".to_owned()));
        assert_eq!(read(r#"{"data":{"a":1.50},"code":200,"sender":"s"}"#), expected);
        assert_eq!(read(r#" {"sender":"s","x":[],"code":200,"data":{"a":1.50}}"#), expected);
    }

    #[test]
    fn what_is_missing_or_of_another_type_has_a_reading() {
        let empty = |code| Some(("null".to_owned(), code, String::new()));
        assert_eq!(read("{}"), empty(0));
        assert_eq!(read(r#"{"code":"200","sender":7,"data":null}"#), empty(0));
        assert_eq!(read(r#"{"code":-5,"sender":null}"#), empty(-5));
        assert_eq!(read(r#"{"code":1.5}"#), empty(0));
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        for text in ["", "x", "[]", r#"[null,1,"s"]"#, "\"{}\"", "{", r#"{"data":}"#, "null"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert!(Envelope::read(b"{\"data\":\"\xff\"}").is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(code in any::<i64>(), sender in ".*", text in ".*") {
            let envelope = Envelope { data: Data::text(&text), code, sender };
            prop_assert_eq!(Envelope::read(envelope.write().as_bytes()).unwrap(), envelope);
        }

        #[test]
        fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Envelope::read(&bytes);
        }
    }
}
