//! The object that agents wrap their metrics in: `{"type": …, "body": …}`.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::cell;

/// An object, read as an envelope. Anything else, and an object in which `type` or `body` occurs
/// twice, is not an envelope.
#[derive(Default)]
pub(super) struct Envelope<'a> {
    /// The type, if it is a text.
    pub(super) kind: Option<Cow<'a, str>>,
    /// The body, `null` included.
    pub(super) body: Option<&'a RawValue>,
    /// There are other keys, too.
    pub(super) others: bool,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Key {
    Type,
    Body,
    #[serde(other)]
    Other,
}

impl<'de> Deserialize<'de> for Envelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EnvelopeVisitor)
    }
}

struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = Envelope<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut kind: Option<&RawValue> = None;
        let mut envelope = Envelope::default();
        while let Some(key) = map.next_key()? {
            match key {
                Key::Type if kind.is_some() => return Err(A::Error::duplicate_field("type")),
                Key::Body if envelope.body.is_some() => {
                    return Err(A::Error::duplicate_field("body"));
                }
                Key::Type => kind = Some(map.next_value()?),
                Key::Body => envelope.body = Some(map.next_value()?),
                Key::Other => {
                    envelope.others = true;
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        envelope.kind = kind.and_then(|json| cell::string(json.get()));
        Ok(envelope)
    }
}
