//! The payload of a message, in the bytes the agent sent.

mod to_json;

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::Deserialize;

/// How a payload is encoded.
///
/// See [`Payload`] for an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// JSON, RFC 8259.
    Json,
    /// MessagePack.
    MessagePack,
}

/// The payload of a message: one JSON or MessagePack object, kept as the agent sent it.
///
/// Nothing is parsed until a receiver asks. Cloning is cheap: clones share the bytes.
///
/// ```
/// use poa_core::{Format, Payload, PayloadError};
///
/// // Agents choose the format; receivers need not care.
/// let json = Payload::new(Format::Json, r#"{"bar":3}"#.into());
/// let packed = Payload::new(Format::MessagePack, b"\x81\xa3bar\x03"[..].into());
/// assert_eq!(json.to_json()?, packed.to_json()?);
///
/// let values = json.read::<std::collections::BTreeMap<String, u32>>()?;
/// assert_eq!(values["bar"], 3);
/// assert!(matches!(Payload::json("text"), Err(PayloadError::NotAnObject)));
/// # Ok::<(), PayloadError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Payload {
    format: Format,
    bytes: Bytes,
}

impl Payload {
    /// Wraps bytes that the caller has verified to be one well-formed object of this format.
    ///
    /// Other bytes fail later, when a receiver reads them: the message is then dead-lettered.
    #[must_use]
    pub fn new(format: Format, bytes: Bytes) -> Self {
        Self { format, bytes }
    }

    /// Encodes a value as JSON.
    ///
    /// # Errors
    /// When the value has no JSON form, or one that is not an object: receivers store and show objects.
    pub fn json<T: serde::Serialize + ?Sized>(value: &T) -> Result<Self, PayloadError> {
        let text = serde_json::to_vec(value).map_err(PayloadError::Json)?;
        if text.first() != Some(&b'{') {
            return Err(PayloadError::NotAnObject);
        }
        Ok(Self::new(Format::Json, text.into()))
    }

    /// The encoding of [`bytes`](Self::bytes).
    #[must_use]
    #[inline]
    pub fn format(&self) -> Format {
        self.format
    }

    /// The bytes the agent sent.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The payload as JSON text: the agent's own text, or the MessagePack data converted to JSON.
    ///
    /// Numbers keep every digit. Values without an equivalent in JSON are converted: a float that is not finite to the text
    /// `"NaN"`, `"Infinity"` or `"-Infinity"`, binary data to text if it is UTF-8 and to base64 if not, an extension to
    /// `{"ext": type, "data": base64}`, and a map key that is not a text to the text of its JSON, or to base64 if it is an
    /// array or a map.
    ///
    /// # Errors
    /// When the bytes are not well-formed, which a handler checks before it sends them.
    pub fn to_json(&self) -> Result<Cow<'_, str>, PayloadError> {
        match self.format {
            Format::Json => {
                Ok(Cow::Borrowed(std::str::from_utf8(&self.bytes).map_err(PayloadError::Utf8)?))
            }
            Format::MessagePack => {
                to_json::transcode(&self.bytes).map(Cow::Owned).map_err(PayloadError::MessagePack)
            }
        }
    }

    /// Reads the payload as a `T`, whichever format it has.
    ///
    /// Numbers beyond 64 bits survive in fields of type [`Box<serde_json::value::RawValue>`](serde_json::value::RawValue).
    ///
    /// # Errors
    /// When the payload does not have the shape of `T`.
    pub fn read<T: for<'de> Deserialize<'de>>(&self) -> Result<T, PayloadError> {
        serde_json::from_str(&self.to_json()?).map_err(PayloadError::Json)
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({} bytes)", self.format, self.bytes.len())
    }
}

/// The reason why a payload could not be read.
///
/// See [`Payload`] for an example.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// The JSON text is malformed, or does not have the requested shape.
    #[error("the payload does not have the expected shape")]
    Json(#[source] serde_json::Error),
    /// The value is not an object in JSON.
    #[error("a payload must be a JSON object, such as a struct or a map; wrap the value in one")]
    NotAnObject,
    /// The JSON text is not UTF-8.
    #[error("the payload is not UTF-8")]
    Utf8(#[source] std::str::Utf8Error),
    /// The MessagePack data is malformed at this byte.
    #[error("the payload is not well-formed MessagePack at byte {0}")]
    MessagePack(usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Load {
        cpu: f64,
        name: String,
    }

    #[test]
    fn a_value_that_is_not_an_object_is_refused() {
        for result in [Payload::json(&1), Payload::json("text"), Payload::json(&[1, 2])] {
            assert!(matches!(result, Err(PayloadError::NotAnObject)), "{result:?}");
        }
        assert_eq!(&**Payload::json(&serde_json::json!({"a": 1})).unwrap().bytes(), br#"{"a":1}"#);
    }

    #[test]
    fn reads_the_same_from_both_formats() {
        let json = Payload::new(Format::Json, r#"{"cpu":1.5,"name":"a"}"#.into());
        let msgpack = Payload::new(
            Format::MessagePack,
            Bytes::from_static(b"\x82\xa3cpu\xcb\x3f\xf8\0\0\0\0\0\0\xc4\x04name\xa1a"),
        );
        let expected = Load { cpu: 1.5, name: "a".into() };
        assert_eq!(json.read::<Load>().unwrap(), expected);
        assert_eq!(msgpack.read::<Load>().unwrap(), expected);
    }

    #[test]
    fn numbers_beyond_64_bits_survive() {
        #[derive(serde::Deserialize)]
        struct Wide {
            n: Box<serde_json::value::RawValue>,
        }
        let text = r#"{"n":1267650600228229401496703205376}"#;
        let wide: Wide = Payload::new(Format::Json, text.into()).read().unwrap();
        assert_eq!(wide.n.get(), "1267650600228229401496703205376");
    }

    #[test]
    fn a_wrong_shape_is_an_error() {
        let payload = Payload::new(Format::Json, r#"{"cpu":"high"}"#.into());
        assert!(matches!(payload.read::<Load>(), Err(PayloadError::Json(_))));
    }
}
