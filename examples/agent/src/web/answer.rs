//! The answer of a server, and its meaning for the call.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use crate::CallError;
use crate::refusal::{self, Refusal};

#[derive(Debug)]
pub(crate) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Empty if there was none, or too much of it.
    pub(super) body: Bytes,
}

/// The body of a refusal by poa.
#[derive(Deserialize)]
struct Said {
    error: String,
    #[serde(default)]
    message: String,
}

impl Answer {
    pub(crate) fn is_unauthorized(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED
    }

    /// Success is the status alone: other servers answer with other bodies.
    pub(crate) fn into_outcome(self, call: impl FnOnce() -> String) -> Result<(), CallError> {
        if self.status.is_success() { Ok(()) } else { Err(self.refusal().into_error(call())) }
    }

    pub(super) fn refusal(&self) -> Refusal {
        Refusal {
            status: self.status,
            retry_after: retry_after(&self.headers),
            message: self.message(),
        }
    }

    /// The message of the server, shortened to one line of a log.
    pub(super) fn message(&self) -> String {
        refusal::one_line(&match serde_json::from_slice::<Said>(&self.body) {
            Ok(said) => refusal::describe(&said.error, &said.message),
            Err(_) => String::from_utf8_lossy(&self.body).into_owned(),
        })
    }
}

/// Seconds or a date (RFC 9110, section 10.2.3). What is neither counts as not there.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, retry_after: &str, body: &'static str) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, retry_after.parse().unwrap());
        Answer { status: StatusCode::from_u16(status).unwrap(), headers, body: body.into() }
    }

    fn outcome(status: u16, body: &'static str) -> Result<(), CallError> {
        answer(status, "2", body).into_outcome(|| "POST /data".into())
    }

    #[test]
    fn each_status_tells_what_to_do_next() {
        for status in [200, 201, 204] {
            assert!(outcome(status, "anything").is_ok());
        }
        for status in [400, 403, 404, 405, 413, 415, 422] {
            assert!(matches!(outcome(status, ""), Err(CallError::Rejected { .. })), "{status}");
        }
        for status in [301, 401, 408, 425, 429, 500, 502, 503, 504] {
            assert!(matches!(outcome(status, ""), Err(CallError::Unavailable { .. })), "{status}");
        }
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        let asked = |value: &str| retry_after(&answer(503, value, "").headers);
        assert_eq!(asked("2"), Some(Duration::from_secs(2)));
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        let soon = SystemTime::now() + Duration::from_secs(60);
        let wait = asked(&httpdate::fmt_http_date(soon)).unwrap();
        assert!(wait > Duration::from_secs(50) && wait <= Duration::from_secs(60), "{wait:?}");
        assert_eq!(asked("soon"), None);
        assert_eq!(asked("-1"), None);
    }

    #[test]
    fn what_the_server_says_is_told_on_one_line_and_in_short() {
        let told = |body| answer(422, "0", body).message();
        assert_eq!(
            told(r#"{"error":"bad_type","message":"type: unknown"}"#),
            "bad_type, type: unknown"
        );
        assert_eq!(told(r#"{"error":"token_expired"}"#), "token_expired");
        assert_eq!(told("bad\r\n2026 INFO forged"), "bad  2026 INFO forged");
        let long: &'static str = "x".repeat(5000).leak();
        assert_eq!(told(long).len(), 300);
    }
}
