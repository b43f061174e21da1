use crate::{CallKind, Kind, Malformed};

/// The reason why a call is refused, with the status and the code for the agent.
///
/// `Display` is the text for the agent: the fault and its place. It never repeats more than a few bytes of what the agent sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// 400: the body is not one well-formed value.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// 400: the body ended early.
    #[error("the body is not complete")]
    Incomplete,
    /// 400: the content of the body does not match its `Content-Encoding`.
    #[error("the body is not valid gzip, although its content-encoding is gzip")]
    InvalidEncoding,
    /// 401: no valid credentials. The response has no details.
    #[error("unauthorized")]
    Unauthorized,
    /// 401: the token is correctly signed, but expired. The response has no details.
    #[error("token_expired")]
    TokenExpired,
    /// 403: the token's user may send for another agent only.
    #[error("this user may only speak for the agent it is bound to")]
    AgentMismatch,
    /// 403: a request of a web page, in anonymous mode.
    #[error(
        "requests with an `Origin` header are refused in anonymous mode; a client that is not a browser must not send one"
    )]
    FromPage,
    /// 404.
    #[error("no such {what}")]
    NotFound {
        /// The missing thing: `path`, `user`.
        what: &'static str,
    },
    /// 405; the HTTP answer also needs an `Allow` header.
    #[error("method not allowed; allowed: {allow}")]
    MethodNotAllowed {
        /// The allowed methods, as the `Allow` header lists them.
        allow: &'static str,
    },
    /// 408: the body took too long.
    #[error("the body did not arrive in time")]
    BodyTimeout,
    /// 409: the name of a new user is taken.
    #[error("this user name is taken; choose another")]
    NameTaken,
    /// 413.
    #[error("the body is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// 413: a batch holds more items than the limit.
    #[error("a batch may hold at most {limit} items; split it")]
    TooManyItems {
        /// The limit.
        limit: usize,
    },
    /// 415.
    #[error("content-type must be application/json or application/msgpack")]
    UnsupportedMediaType,
    /// 415: the body has a content coding that is not supported; the HTTP answer also needs an `Accept-Encoding` header.
    #[error("content-encoding `{found}` is not supported; send gzip or none")]
    UnsupportedEncoding {
        /// The value of the header, cut to 32 characters, control characters and quotes left out.
        found: String,
    },
    /// 422: the body, or an item of a batch, is not an object.
    #[error("expected an object, found {found}")]
    NotAnObject {
        /// The kind of value that was sent.
        found: Kind,
    },
    /// 422: only data calls support batches.
    #[error("{call} takes one object; only data takes an array of them")]
    NoBatch {
        /// The call that was made.
        call: CallKind,
    },
    /// 422: a field is missing.
    #[error("field `{field}` is missing")]
    MissingField {
        /// The field's name.
        field: &'static str,
    },
    /// 422: a field has a wrong type.
    #[error("field `{field}` must be {expected}, found {found}")]
    WrongType {
        /// The field's name.
        field: &'static str,
        /// The expected value: `a string`, `an object`.
        expected: &'static str,
        /// The kind of value that was sent.
        found: Kind,
    },
    /// 422: a field has the right type, but violates a rule.
    #[error("field `{field}` {problem}")]
    InvalidField {
        /// The field's name.
        field: &'static str,
        /// The rule, to be read after the field's name: `must not be empty`.
        problem: &'static str,
    },
    /// 422: a body that changes something has a field that does not exist. Created by [`decode_known_fields`](crate::decode_known_fields).
    #[error("{message}")]
    UnknownField {
        /// The name that was sent, cut short; the known names; the nearest of them.
        message: String,
    },
    /// 422: `type` is not a configured data type. Created by [`Refusal::unknown_type`].
    #[error("{message}")]
    UnknownType {
        /// The value that was sent, truncated; the known types; the nearest of them.
        message: String,
    },
    /// 422: `call` of a WebSocket request is not a known call. Created by the decoder.
    #[error("{message}")]
    UnknownCall {
        /// The value that was sent, truncated; the known calls; the nearest of them.
        message: String,
    },
    /// 422: the key of this message was used for another one before.
    #[error(
        "another message was sent with this idempotency key, and is kept; give every message its own"
    )]
    KeyReused,
    /// The status of `cause`: one item of a batch is refused, and therefore the whole batch.
    #[error("item {index}: {cause}")]
    InBatch {
        /// The index of the first invalid item, counted from 0.
        index: usize,
        /// The reason why it is refused.
        cause: Box<Refusal>,
    },
    /// 429: the sender's own share of a resource is used up, independently of other senders; the HTTP response also needs a
    /// `Retry-After` header.
    #[error("over your share of {what}; wait for earlier calls to be answered")]
    OverShare {
        /// The resource: `memory for bodies`, `backlog`.
        what: &'static str,
        /// Seconds to wait.
        retry_after: u32,
    },
    /// 500: a fault of this server.
    #[error("internal error; the server's log says more")]
    Internal,
    /// 503: a temporary obstacle; the HTTP response also needs a `Retry-After` header.
    #[error("{why}")]
    Unavailable {
        /// The obstacle.
        why: &'static str,
        /// Seconds to wait.
        retry_after: u32,
    },
    /// 503: the answer was not ready in time. The message may be accepted all the same.
    #[error("the answer took too long; try again later")]
    Overdue {
        /// Seconds to wait.
        retry_after: u32,
    },
    /// 503: the bus accepts no more; the HTTP response also needs a `Retry-After` header.
    #[error("the backlog is full; try again in {retry_after} s")]
    BacklogFull {
        /// Seconds to wait.
        retry_after: u32,
    },
    /// 503: no receiver subscribes to this data type, so an acknowledgement would guarantee nothing.
    #[error("no receiver subscribes to this data type")]
    NobodySubscribed {
        /// Seconds to wait.
        retry_after: u32,
    },
}

impl Refusal {
    /// Refuses a `type` that is not configured, naming the known ones and the nearest.
    #[must_use]
    pub fn unknown_type<'k>(found: &str, known: impl IntoIterator<Item = &'k str>) -> Self {
        Self::UnknownType { message: crate::unknown::describe("type", found, known) }
    }

    /// Adds the index of the refused item of a batch, counted from 0.
    #[must_use]
    pub fn in_batch(self, index: usize) -> Self {
        Self::InBatch { index, cause: Box::new(self) }
    }

    /// Refuses a `Content-Encoding`, naming it.
    #[must_use]
    pub fn unsupported_encoding(found: &str) -> Self {
        let shown = |c: &char| !c.is_control() && *c != '"';
        Self::UnsupportedEncoding { found: found.chars().filter(shown).take(32).collect() }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) | Self::Incomplete | Self::InvalidEncoding => 400,
            Self::Unauthorized | Self::TokenExpired => 401,
            Self::AgentMismatch | Self::FromPage => 403,
            Self::NotFound { .. } => 404,
            Self::MethodNotAllowed { .. } => 405,
            Self::BodyTimeout => 408,
            Self::NameTaken => 409,
            Self::TooLarge { .. } | Self::TooManyItems { .. } => 413,
            Self::UnsupportedMediaType | Self::UnsupportedEncoding { .. } => 415,
            Self::NotAnObject { .. }
            | Self::NoBatch { .. }
            | Self::MissingField { .. }
            | Self::WrongType { .. }
            | Self::InvalidField { .. }
            | Self::UnknownField { .. }
            | Self::UnknownType { .. }
            | Self::UnknownCall { .. }
            | Self::KeyReused => 422,
            Self::InBatch { cause, .. } => cause.status(),
            Self::OverShare { .. } => 429,
            Self::Internal => 500,
            Self::Unavailable { .. } | Self::Overdue { .. } | Self::BacklogFull { .. } => 503,
            Self::NobodySubscribed { .. } => 503,
        }
    }

    /// The stable code for programs, in snake case.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::Incomplete | Self::InvalidEncoding => "malformed_body",
            Self::Unauthorized => "unauthorized",
            Self::TokenExpired => "token_expired",
            Self::AgentMismatch => "agent_mismatch",
            Self::FromPage => "from_page",
            Self::NotFound { .. } => "not_found",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::BodyTimeout => "body_timeout",
            Self::NameTaken => "name_taken",
            Self::TooLarge { .. } => "too_large",
            Self::TooManyItems { .. } => "too_many_items",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::UnsupportedEncoding { .. } => "unsupported_encoding",
            Self::OverShare { .. } => "share_exceeded",
            Self::NotAnObject { .. } => "not_an_object",
            Self::NoBatch { .. } => "no_batch",
            Self::MissingField { .. } => "missing_field",
            Self::WrongType { .. } => "wrong_type",
            Self::InvalidField { .. } => "invalid_field",
            Self::UnknownField { .. } => "unknown_field",
            Self::UnknownType { .. } => "unknown_type",
            Self::UnknownCall { .. } => "unknown_call",
            Self::KeyReused => "idempotency_key_reused",
            Self::InBatch { cause, .. } => cause.code(),
            Self::Internal => "internal",
            Self::Unavailable { .. } => "unavailable",
            Self::Overdue { .. } => "timeout",
            Self::BacklogFull { .. } => "backlog_full",
            Self::NobodySubscribed { .. } => "nobody_subscribed",
        }
    }

    /// Seconds for the `Retry-After` header; every 429 and 503 has them.
    #[must_use]
    pub const fn retry_after(&self) -> Option<u32> {
        match self {
            Self::BacklogFull { retry_after }
            | Self::NobodySubscribed { retry_after }
            | Self::Overdue { retry_after }
            | Self::OverShare { retry_after, .. }
            | Self::Unavailable { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    /// The `Allow` header; only [`Refusal::MethodNotAllowed`] has one.
    #[must_use]
    pub const fn allow(&self) -> Option<&'static str> {
        match self {
            Self::MethodNotAllowed { allow } => Some(allow),
            _ => None,
        }
    }
}
