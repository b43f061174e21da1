//! Why a request gets no positive answer.

use std::borrow::Cow;

use poa_core::ReceiptError;
use poa_core::auth::AuthError;
use poa_http::BodyError;
use poa_protocol::{Malformed, Refusal};

/// Seconds an agent is asked to wait: short against a backlog, long against a burst.
const RETRY_AFTER: u32 = 5;

/// A refusal of the protocol, or one that only HTTP knows.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The call is refused.
    Call(Refusal),
    /// 503: not now, for this reason.
    NotNow(&'static str),
    /// 408: the body took too long.
    Slow,
    /// 400: the body ended too early.
    Incomplete,
}

impl Refused {
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Call(refusal) => refusal.status(),
            Self::NotNow(_) => 503,
            Self::Slow => 408,
            Self::Incomplete => 400,
        }
    }

    pub(crate) fn retry_after(&self) -> Option<u32> {
        match self {
            Self::Call(refusal) => refusal.retry_after(),
            Self::NotNow(_) => Some(RETRY_AFTER),
            Self::Slow | Self::Incomplete => None,
        }
    }

    /// The value of the `Allow` header.
    pub(crate) fn allow(&self) -> Option<&'static str> {
        match self {
            Self::Call(refusal) => refusal.allow(),
            _ => None,
        }
    }

    /// The JSON body.
    pub(crate) fn body(&self) -> Cow<'static, str> {
        let (code, message) = match self {
            Self::Call(refusal) => return refusal.body(),
            Self::NotNow(why) => ("unavailable", *why),
            Self::Slow => ("body_timeout", "the body did not arrive in time"),
            Self::Incomplete => ("malformed_body", "the body is not complete"),
        };
        format!(r#"{{"error":"{code}","message":"{message}"}}"#).into()
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::Call(refusal)
    }
}

impl From<Malformed> for Refused {
    fn from(malformed: Malformed) -> Self {
        Self::Call(malformed.into())
    }
}

impl From<BodyError> for Refused {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge { limit } => Refusal::TooLarge { limit }.into(),
            BodyError::Timeout(_) => Self::Slow,
            BodyError::Busy => Self::NotNow("too much is being received at once"),
            _ => Self::Incomplete,
        }
    }
}

impl From<AuthError> for Refused {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Expired => Refusal::TokenExpired.into(),
            AuthError::Busy => Self::NotNow("too many tokens are being verified at once"),
            AuthError::Unavailable(source) => {
                tracing::error!("cannot verify a token: {source}");
                Self::NotNow("tokens cannot be verified now")
            }
            _ => Refusal::Unauthorized.into(),
        }
    }
}

impl From<poa_core::Refused> for Refused {
    fn from(refused: poa_core::Refused) -> Self {
        match refused {
            poa_core::Refused::BacklogFull { .. } => {
                Refusal::BacklogFull { retry_after: RETRY_AFTER }.into()
            }
            poa_core::Refused::LogBusy => Self::NotNow("the disk is too slow"),
            _ => Self::NotNow("the server is stopping"),
        }
    }
}

impl From<ReceiptError> for Refused {
    fn from(error: ReceiptError) -> Self {
        Self::NotNow(match error {
            ReceiptError::NotDelivered => "a receiver could not deliver the message",
            ReceiptError::NotStored => {
                "the message could not be stored; the log of the server says why"
            }
            ReceiptError::TimedOut => "the message is stored, and not delivered yet",
            _ => "the server stopped before the message was delivered",
        })
    }
}
