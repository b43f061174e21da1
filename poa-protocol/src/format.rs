use std::fmt;

use crate::Refusal;

/// The format of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// `application/json`, RFC 8259.
    Json,
    /// `application/msgpack`.
    MessagePack,
}

impl Format {
    /// Reads the value of a `Content-Type` header.
    ///
    /// Letter case, parameters and surrounding blanks are ignored (protocol section 2).
    ///
    /// # Errors
    ///
    /// [`Refusal::UnsupportedMediaType`] when the header is missing or names anything else,
    /// including `application/x-msgpack`.
    pub fn from_content_type(value: Option<&[u8]>) -> Result<Self, Refusal> {
        let media_type = value
            .and_then(|value| value.split(|&byte| byte == b';').next())
            .map(<[u8]>::trim_ascii)
            .unwrap_or_default();
        [Self::Json, Self::MessagePack]
            .into_iter()
            .find(|format| media_type.eq_ignore_ascii_case(format.content_type().as_bytes()))
            .ok_or(Refusal::UnsupportedMediaType)
    }

    /// The media type to put in a `Content-Type` header.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::MessagePack => "application/msgpack",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "JSON",
            Self::MessagePack => "MessagePack",
        })
    }
}
