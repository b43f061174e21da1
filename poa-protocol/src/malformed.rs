use crate::Format;

/// A body that is not one well-formed JSON or MessagePack value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed {format} at byte {offset}: {problem}")]
pub struct Malformed {
    /// The format as which the body was read.
    pub format: Format,
    /// The offset at which reading stopped, in bytes from the start of the body.
    pub offset: usize,
    /// The fault at that offset.
    pub problem: Problem,
}

/// The fault of a [`Malformed`] body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The body stops inside a value, or is empty.
    #[error("the body ends too early")]
    UnexpectedEnd,
    /// More bytes follow the value.
    #[error("bytes follow the value")]
    TrailingBytes,
    /// JSON text, a MessagePack str, or a bin that must be text is not UTF-8.
    #[error("not UTF-8")]
    Utf8,
    /// Objects and arrays nest deeper than [`Limits::max_depth`](crate::Limits::max_depth).
    #[error("nested deeper than {0} levels")]
    TooDeep(u8),
    /// JSON: no value starts with this byte.
    #[error("expected a value")]
    ExpectedValue,
    /// JSON: the name of a member is required here.
    #[error("expected a string as the name of a member")]
    ExpectedName,
    /// JSON: a colon must follow the name of a member.
    #[error("expected `:`")]
    ExpectedColon,
    /// JSON: an object must continue or end here.
    #[error("expected `,` or `}}`")]
    ExpectedCommaOrBrace,
    /// JSON: an array must continue or end here.
    #[error("expected `,` or `]`")]
    ExpectedCommaOrBracket,
    /// JSON: a control character in a string is not escaped.
    #[error("control character in a string")]
    ControlCharacter,
    /// JSON: an unknown escape.
    #[error("invalid escape in a string")]
    Escape,
    /// JSON: half of a surrogate pair, which has no UTF-8 form.
    #[error("lone surrogate in a string")]
    LoneSurrogate,
    /// JSON: the number violates the grammar.
    #[error("invalid number")]
    Number,
    /// MessagePack: the marker 0xc1, which is never used.
    #[error("the marker 0xc1 is never used")]
    ReservedMarker,
    /// MessagePack: a length field exceeds the rest of the body.
    #[error("a length is larger than the rest of the body")]
    Length,
}
