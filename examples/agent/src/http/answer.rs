//! What a server answered, and what it means for the call.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use crate::CallError;

/// How much of what a server says goes into the log.
const MESSAGE_CHARS: usize = 300;

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Empty if there was none, or too much of it.
    pub(super) body: Bytes,
}

/// A status that says "not now".
#[derive(Debug, thiserror::Error)]
#[error("the server answered {status}: {message}")]
struct NotNow {
    status: StatusCode,
    message: String,
}

/// The body of a refusal by poa.
#[derive(Deserialize)]
struct Refusal {
    error: String,
    #[serde(default)]
    message: String,
}

impl Answer {
    pub(super) fn is_unauthorized(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED
    }

    /// Success is the status alone: other servers answer with other bodies.
    pub(super) fn into_outcome(self, call: impl FnOnce() -> String) -> Result<(), CallError> {
        if self.status.is_success() {
            Ok(())
        } else if self.is_final() {
            Err(CallError::Rejected {
                call: call(),
                status: self.status.as_u16(),
                message: self.message(),
            })
        } else {
            Err(self.into_not_now(call()))
        }
    }

    pub(super) fn into_not_now(self, call: String) -> CallError {
        let source = NotNow { status: self.status, message: self.message() };
        CallError::Unavailable {
            call,
            retry_after: retry_after(&self.headers),
            source: source.into(),
        }
    }

    /// The same call would get the same answer again. Not so after 401, which is about the token, and the three that
    /// mean "too early", "too slow" and "too often".
    pub(super) fn is_final(&self) -> bool {
        self.status.is_client_error()
            && !matches!(
                self.status,
                StatusCode::UNAUTHORIZED
                    | StatusCode::REQUEST_TIMEOUT
                    | StatusCode::TOO_EARLY
                    | StatusCode::TOO_MANY_REQUESTS
            )
    }

    /// What the server said, fit for one line of a log.
    pub(super) fn message(&self) -> String {
        let text = match serde_json::from_slice::<Refusal>(&self.body) {
            Ok(refusal) if refusal.message.is_empty() => refusal.error,
            Ok(refusal) => format!("{}, {}", refusal.error, refusal.message),
            Err(_) => String::from_utf8_lossy(&self.body).into_owned(),
        };
        let one_line =
            text.chars().take(MESSAGE_CHARS).map(|c| if c.is_control() { ' ' } else { c });
        one_line.collect::<String>().trim().to_owned()
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
        assert_eq!(told(long).len(), MESSAGE_CHARS);
    }
}
