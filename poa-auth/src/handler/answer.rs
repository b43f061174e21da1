use std::borrow::Cow;
use std::error::Error;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use poa_core::InvalidAgentId;
use poa_core::auth::AuthError;
use poa_http::{ACCEPTED_ENCODINGS, BodyError};
use poa_protocol::Refusal;
use serde::Serialize;

use crate::UserError;

pub(super) type Answer = Response<Full<Bytes>>;

/// The seconds after which a client may try again when the server is busy.
const RETRY: u32 = 2;

/// The reason why a request fails.
pub(super) enum Refused {
    Protocol(Refusal),
    /// Refusals that the protocol does not define.
    Other {
        status: StatusCode,
        code: &'static str,
        message: String,
    },
}

/// 200 with a body that must not be cached: it contains tokens and passwords.
pub(super) fn ok(body: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(body).expect("texts, flags and times always encode");
    let mut answer = json(StatusCode::OK, body.into());
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// 200 without content of its own.
pub(super) fn success() -> Answer {
    json(StatusCode::OK, Bytes::from_static(poa_protocol::SUCCESS.as_bytes()))
}

/// 204.
pub(super) fn no_content() -> Answer {
    let mut answer = Response::default();
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer
}

fn json(status: StatusCode, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

impl Refused {
    pub(super) fn into_answer(self) -> Answer {
        match self {
            Self::Protocol(refusal) => refusal_answer(&refusal),
            Self::Other { status, code, message } => {
                let body = serde_json::json!({"error": code, "message": message});
                let mut answer = json(status, body.to_string().into());
                if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS)
                {
                    answer.headers_mut().insert(RETRY_AFTER, RETRY.into());
                }
                answer
            }
        }
    }

    fn busy(message: String) -> Self {
        Self::Other { status: StatusCode::SERVICE_UNAVAILABLE, code: "busy", message }
    }

    /// The cause is logged; the client learns only that the fault is not its own.
    fn internal(error: &(dyn Error + 'static)) -> Self {
        let causes = std::iter::successors(error.source(), |cause| (*cause).source());
        let text = causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
        tracing::error!(error = text, "cannot answer a request");
        Self::Protocol(Refusal::Internal)
    }
}

fn refusal_answer(refusal: &Refusal) -> Answer {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let body = match refusal.body() {
        Cow::Borrowed(body) => Bytes::from_static(body.as_bytes()),
        Cow::Owned(body) => body.into(),
    };
    let mut answer = json(status, body);
    if let Some((name, value)) = header_of(refusal) {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// The header that HTTP requires with this refusal.
fn header_of(refusal: &Refusal) -> Option<(HeaderName, &'static str)> {
    match refusal {
        Refusal::Unauthorized => Some((WWW_AUTHENTICATE, r#"Basic realm="poa", charset="UTF-8""#)),
        Refusal::UnsupportedEncoding { .. } => Some((ACCEPT_ENCODING, ACCEPTED_ENCODINGS)),
        _ => Some((ALLOW, refusal.allow()?)),
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::Protocol(refusal)
    }
}

impl From<BodyError> for Refused {
    fn from(error: BodyError) -> Self {
        let (status, message) = (error.status(), error.to_string());
        match error {
            BodyError::TooLarge { limit } => Refusal::TooLarge { limit }.into(),
            BodyError::Busy => Self::busy(message),
            BodyError::OverShare => Self::Other { status, code: "share_exceeded", message },
            BodyError::Timeout(_) => Self::Other { status, code: "timeout", message },
            _ => Self::Other { status, code: "malformed_body", message },
        }
    }
}

impl From<AuthError> for Refused {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Expired | AuthError::Unauthorized => Refusal::Unauthorized.into(),
            AuthError::Busy => Self::busy("too many logins at once; try again later".to_owned()),
            error => Self::internal(&error),
        }
    }
}

impl From<UserError> for Refused {
    fn from(error: UserError) -> Self {
        match error {
            UserError::NameTaken => Refusal::NameTaken.into(),
            UserError::NotFound => Refusal::NotFound { what: "user" }.into(),
            UserError::InvalidToken => Refusal::NotFound { what: "token" }.into(),
            UserError::InvalidName(name) => {
                Refusal::InvalidField { field: "user-name", problem: name.rule() }.into()
            }
            UserError::PasswordTooShort => {
                let problem = "must have at least 8 characters";
                Refusal::InvalidField { field: "password", problem }.into()
            }
            UserError::Busy => Self::busy(error.to_string()),
            UserError::NotListed => {
                let (status, message) = (StatusCode::NOT_IMPLEMENTED, error.to_string());
                Self::Other { status, code: "not_listed", message }
            }
            error @ UserError::Unavailable(_) => Self::internal(&error),
        }
    }
}

impl From<InvalidAgentId> for Refused {
    fn from(invalid: InvalidAgentId) -> Self {
        let problem = match invalid {
            InvalidAgentId::Empty => "must not be empty",
            InvalidAgentId::TooLong(_) => "must have at most 256 bytes",
            _ => "must not hold control characters",
        };
        Refusal::InvalidField { field: "agent-id", problem }.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(refused: impl Into<Refused>) -> (u16, Option<HeaderValue>) {
        let answer = refused.into().into_answer();
        (answer.status().as_u16(), answer.headers().get(RETRY_AFTER).cloned())
    }

    #[test]
    fn a_client_at_a_busy_time_is_told_when_to_retry() {
        let later = Some(HeaderValue::from(RETRY));
        assert_eq!(answered(AuthError::Busy), (503, later.clone()));
        assert_eq!(answered(UserError::Busy), (503, later.clone()));
        assert_eq!(answered(BodyError::Busy), (503, later));
    }

    #[test]
    fn internal_errors_are_not_explained_to_clients() {
        let error = || "the disk is on fire".into();
        assert_eq!(answered(AuthError::Unavailable(error())), (500, None));
        let body = Refused::from(UserError::Unavailable(error())).into_answer();
        assert!(!format!("{body:?}").contains("fire"));
    }

    #[test]
    fn a_slow_or_broken_body_is_the_clients_fault() {
        let slow = BodyError::Timeout(poa_core::config::Duration::from_secs(30));
        assert_eq!(answered(slow), (408, None));
        assert_eq!(answered(BodyError::TooLarge { limit: 5 }), (413, None));
    }

    #[test]
    fn an_expired_token_is_treated_as_no_token() {
        assert_eq!(answered(AuthError::Expired).0, 401);
    }
}
