//! Recovers the id from a line that is not a valid frame.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{IgnoredAny, MapAccess, Visitor};

/// The id of a `send` that cannot be read as a whole, if the id comes before the fault.
///
/// Invalid data that a client made a child write, such as `NaN`, is then an error of one message and does not end the
/// child.
pub(crate) fn id_of_send(line: &[u8]) -> Option<u64> {
    let mut seen = Seen::default();
    // A parse error is ignored: the keys before it count.
    let _ = serde_json::Deserializer::from_slice(line).deserialize_map(&mut seen);
    seen.id.filter(|_| seen.send)
}

#[derive(Default)]
struct Seen {
    send: bool,
    id: Option<u64>,
}

impl<'de> Visitor<'de> for &mut Seen {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a frame")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut keys: A) -> Result<(), A::Error> {
        while let Some(key) = keys.next_key::<Cow<'_, str>>()? {
            match &*key {
                "type" => self.send = keys.next_value::<Cow<'_, str>>()? == "send",
                "id" => self.id = Some(keys.next_value()?),
                _ => _ = keys.next_value::<IgnoredAny>()?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_before_the_fault_counts() {
        let seen = |line: &str| id_of_send(line.as_bytes());
        assert_eq!(seen(r#"{"type":"send","id":7,"messages":[{"data":{"n":NaN}}]}"#), Some(7));
        assert_eq!(seen(r#"{"id":7,"later":[[1]],"type":"send","messages":3}"#), Some(7));
        assert_eq!(seen(r#"{"type":"send","messages":[NaN],"id":7}"#), None);
        assert_eq!(seen(r#"{"type":"send","id":-7,"messages":[]}"#), None);
        assert_eq!(seen(r#"{"type":"ack","id":7,"more":NaN}"#), None);
        assert_eq!(seen("hello"), None);
    }
}
