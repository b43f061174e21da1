//! Negative answers.

use http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use poa_page::{Answer, json};

/// The reason for a negative answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Refusal {
    NotFound,
    UnknownAgent,
    Method(&'static str),
    Unauthorized,
    TooManyGuesses,
    NoSecret,
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let (status, code, message) = refusal.says();
        let mut answer = json(format!(r#"{{"error":"{code}","message":"{message}"}}"#));
        *answer.status_mut() = status;
        let headers = answer.headers_mut();
        match refusal {
            Refusal::Method(allowed) => {
                headers.insert(ALLOW, HeaderValue::from_static(allowed));
            }
            Refusal::Unauthorized => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("wssecret"));
            }
            Refusal::TooManyGuesses => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("60"));
            }
            Refusal::NotFound | Refusal::UnknownAgent | Refusal::NoSecret => {}
        }
        answer
    }
}

impl Refusal {
    fn says(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found", "there is nothing at this path"),
            Self::UnknownAgent => {
                (StatusCode::NOT_FOUND, "unknown_agent", "there is no such agent")
            }
            Self::Method(_) => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "this path has other methods",
            ),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized", "unauthorized"),
            Self::TooManyGuesses => (
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_guesses",
                "too many wrong secrets; try again later",
            ),
            Self::NoSecret => {
                (StatusCode::BAD_REQUEST, "no_secret", "send the secret as a JSON text")
            }
        }
    }
}
