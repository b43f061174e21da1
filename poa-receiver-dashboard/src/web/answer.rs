//! Answers, each with security headers for browsers.

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, REFERRER_POLICY,
    RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;

pub(crate) type Answer = Response<Full<Bytes>>;

/// All resources come from this server, and the page can do nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const OPENER: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// An answer with this content.
pub(crate) fn content(content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::from(body.into()));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    guarded(answer)
}

/// A file of the page, which a browser can cache but must revalidate.
pub(crate) fn asset(content_type: &'static str, body: Bytes, tag: &HeaderValue) -> Answer {
    let mut answer = content(content_type, body);
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer.headers_mut().insert(ETAG, tag.clone());
    answer
}

/// The browser's copy is current.
pub(crate) fn not_modified(tag: &HeaderValue) -> Answer {
    let mut answer = empty(StatusCode::NOT_MODIFIED);
    answer.headers_mut().insert(ETAG, tag.clone());
    answer
}

/// An answer without content.
pub(crate) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    guarded(answer)
}

/// Data, which must not be cached.
pub(crate) fn json(body: impl Into<Bytes>) -> Answer {
    let mut answer = content("application/json", body);
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

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

fn guarded(mut answer: Answer) -> Answer {
    let headers = answer.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (OPENER, "same-origin"),
        (RESOURCE, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}
