//! Why a connection ended, and what that means.

use std::sync::Arc;

use tokio_websockets::CloseCode;

use crate::refusal::one_line;

/// The close code that says that the token is not, or no longer, valid (POA Protocol, section 4).
const UNAUTHORIZED: u16 = 4401;

/// RFC 6455, section 7.4.1.
const TOO_BIG: u16 = 1009;

/// A connection is no more, or was never made. Cheap to clone: every call that was waiting gets it.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Lost {
    #[error("the server closed the connection with code {code}{}{}", explain(*code), said(reason))]
    Closed { code: u16, reason: Arc<str> },
    #[error("the connection was lost")]
    Broken(#[source] Arc<tokio_websockets::Error>),
    #[error("the server ended the connection without a word")]
    Ended,
    #[error("the server could not read a message: {0}")]
    Misunderstood(Arc<str>),
    #[error("the server sent an invalid answer: {0}")]
    Nonsense(Arc<str>),
    #[error("a call was not answered in time, so the connection was given up")]
    GivenUp,
    #[error("the agent has left")]
    Left,
}

impl Lost {
    pub(super) fn closed(code: CloseCode, reason: &str) -> Self {
        Self::Closed { code: code.into(), reason: one_line(reason).into() }
    }

    /// As if the server had closed the connection of its own accord, since it takes no call any more.
    pub(super) fn unauthorized(message: &str) -> Self {
        Self::Closed { code: UNAUTHORIZED, reason: message.into() }
    }

    /// A new token is needed.
    pub(super) fn is_about_the_token(&self) -> bool {
        matches!(self, Self::Closed { code: UNAUTHORIZED, .. })
    }

    /// One of the calls that wait was larger than the server takes.
    pub(super) fn is_about_size(&self) -> bool {
        matches!(self, Self::Closed { code: TOO_BIG, .. })
    }
}

fn explain(code: u16) -> &'static str {
    match code {
        1000 => " (it has no more to say)",
        1001 => " (it is shutting down)",
        1002 => " (it says that the protocol was broken)",
        1003 | 1007 => " (it cannot read what was sent)",
        1008 => " (too many messages that it could not read)",
        TOO_BIG => " (a message was larger than it takes)",
        1011 => " (it failed)",
        1012 => " (it is being restarted)",
        1013 => " (it has too much to do)",
        UNAUTHORIZED => " (the token is not valid, or not any more)",
        _ => "",
    }
}

fn said(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_explained() {
        let told = |code: u16, reason| Lost::closed(code.try_into().unwrap(), reason).to_string();
        assert_eq!(
            told(4401, "user banned"),
            "the server closed the connection with code 4401 (the token is not valid, or not any more): user banned"
        );
        assert_eq!(
            told(1001, ""),
            "the server closed the connection with code 1001 (it is shutting down)"
        );
        assert_eq!(told(4999, ""), "the server closed the connection with code 4999");
    }
}
