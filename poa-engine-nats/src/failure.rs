//! Why a server did not do what was asked.

use async_nats::client::{RequestError, RequestErrorKind};
use serde::Deserialize;

/// Why a request to JetStream failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// No server takes requests for the stream now: an election is under way, or the stream is gone. Nothing was done.
    #[error("no server leads the stream")]
    NoLeader,
    /// No answer came in time. The request may have been carried out, or may still be.
    #[error("the servers did not answer in time")]
    Unanswered,
    /// The stream, the account or the disk is full. Nothing was done.
    #[error("the stream is full: {0}")]
    Full(String),
    /// The subject has another last sequence than expected. Nothing was done.
    #[error("another write came first")]
    WrongSequence,
    /// There is no such stream, message or consumer.
    #[error("not found: {0}")]
    NotFound(String),
    /// The payload exceeds the limit of the server. Nothing was sent.
    #[error("the message is larger than the servers take")]
    TooLarge,
    /// The server refused, and will again.
    #[error("{0}")]
    Refused(String),
}

impl Failure {
    /// Whether the same request may succeed soon, and cannot have been carried out.
    pub(crate) fn is_safe_to_repeat(&self) -> bool {
        matches!(self, Self::NoLeader)
    }

    /// Whether the servers may be out of contact.
    pub(crate) fn is_about_contact(&self) -> bool {
        matches!(self, Self::NoLeader | Self::Unanswered)
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        match error.kind() {
            RequestErrorKind::NoResponders => Self::NoLeader,
            RequestErrorKind::MaxPayloadExceeded => Self::TooLarge,
            RequestErrorKind::TimedOut | RequestErrorKind::Other => Self::Unanswered,
            _ => Self::Refused(error.to_string()),
        }
    }
}

/// An error as JetStream writes it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ApiError {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    err_code: u32,
    #[serde(default)]
    description: String,
}

/// The codes in `err_code` that mean something here, from `server/errors.json` of nats-server.
mod code {
    pub(super) const FULL: [u32; 5] = [10002, 10023, 10028, 10047, 10077];
    pub(super) const WRONG_SEQUENCE: [u32; 2] = [10071, 10164];
    pub(super) const NOT_FOUND: [u32; 3] = [10014, 10037, 10059];
    pub(super) const TOO_LARGE: u32 = 10054;
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        let ApiError { code: status, err_code, description } = error;
        match err_code {
            code if code::FULL.contains(&code) => Self::Full(description),
            code if code::WRONG_SEQUENCE.contains(&code) => Self::WrongSequence,
            code if code::NOT_FOUND.contains(&code) => Self::NotFound(description),
            code::TOO_LARGE => Self::TooLarge,
            _ if status == 503 => Self::NoLeader,
            // The server gave up waiting for its peers.
            _ if status == 408 || status == 504 => Self::Unanswered,
            _ => Self::Refused(format!("{description} (error {err_code})")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(json: &str) -> Failure {
        serde_json::from_str::<ApiError>(json).unwrap().into()
    }

    #[test]
    fn codes_are_told_apart() {
        let full = r#"{"code":503,"err_code":10077,"description":"maximum bytes exceeded"}"#;
        assert_eq!(failure(full), Failure::Full("maximum bytes exceeded".into()));
        let wrong = r#"{"code":400,"err_code":10071,"description":"wrong last sequence: 3"}"#;
        assert_eq!(failure(wrong), Failure::WrongSequence);
        assert!(failure(r#"{"code":503,"err_code":10008}"#).is_safe_to_repeat());
        assert!(!failure(r#"{"code":400,"err_code":10003}"#).is_about_contact());
    }
}
