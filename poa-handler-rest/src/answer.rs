//! HTTP responses for outcomes.

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use poa_http::ACCEPTED_ENCODINGS;
use poa_protocol::{Refusal, SUCCESS, accepted};

pub(crate) type Answer = Response<Full<Bytes>>;

/// The accepted calls.
#[derive(Debug)]
pub(crate) enum Accepted {
    /// One call.
    One,
    /// A batch of this many items.
    Batch(usize),
}

pub(crate) fn positive(accepted_calls: &Accepted) -> Answer {
    json(match accepted_calls {
        Accepted::One => Bytes::from_static(SUCCESS.as_bytes()),
        Accepted::Batch(count) => accepted(*count).into(),
    })
}

pub(crate) fn negative(refused: &Refusal) -> Answer {
    let body = match refused.body() {
        std::borrow::Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
        std::borrow::Cow::Owned(text) => text.into(),
    };
    let mut answer = json(body);
    *answer.status_mut() =
        StatusCode::from_u16(refused.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    explain(refused, answer.headers_mut());
    answer
}

/// Adds the headers that HTTP requires with some statuses (RFC 9110, sections 11.6.1, 15.5.6, 12.5.3 and 10.2.3).
fn explain(refused: &Refusal, headers: &mut HeaderMap) {
    if refused.status() == 401 {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(allow) = refused.allow() {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    if let Refusal::UnsupportedEncoding { .. } = refused {
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED_ENCODINGS));
    }
    if let Some(seconds) = refused.retry_after() {
        headers.insert(RETRY_AFTER, seconds.into());
    }
}

fn json(body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
