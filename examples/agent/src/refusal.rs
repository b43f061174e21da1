//! A server's refusal of a call, over any transport.

use std::time::Duration;

use http::StatusCode;

use crate::CallError;

/// The longest part of a server's message that is logged.
const MESSAGE_CHARS: usize = 300;

#[derive(Debug)]
pub(crate) struct Refusal {
    /// The HTTP status, also where the transport is not HTTP.
    pub(crate) status: StatusCode,
    pub(crate) retry_after: Option<Duration>,
    /// On one line, see [`one_line`].
    pub(crate) message: String,
}

/// A status that asks to try again later.
#[derive(Debug, thiserror::Error)]
#[error("the server answered {status}: {message}")]
struct NotNow {
    status: StatusCode,
    message: String,
}

impl Refusal {
    pub(crate) fn into_error(self, call: String) -> CallError {
        if is_final(self.status) {
            CallError::Rejected { call, status: self.status.as_u16(), message: self.message }
        } else {
            self.into_not_now(call)
        }
    }

    pub(crate) fn into_not_now(self, call: String) -> CallError {
        let source = NotNow { status: self.status, message: self.message };
        CallError::Unavailable { call, retry_after: self.retry_after, source: source.into() }
    }
}

/// A retry would get the same answer. Exceptions are 401, which concerns the token, and the three statuses that mean
/// "too early", "too slow" and "too often".
pub(crate) fn is_final(status: StatusCode) -> bool {
    status.is_client_error()
        && !matches!(
            status,
            StatusCode::UNAUTHORIZED
                | StatusCode::REQUEST_TIMEOUT
                | StatusCode::TOO_EARLY
                | StatusCode::TOO_MANY_REQUESTS
        )
}

/// A message of a server, shortened to one line of a log.
pub(crate) fn one_line(text: &str) -> String {
    let plain = text.chars().take(MESSAGE_CHARS).map(|c| if c.is_control() { ' ' } else { c });
    plain.collect::<String>().trim().to_owned()
}

/// A code and a message, either of which may be missing.
pub(crate) fn describe(code: &str, message: &str) -> String {
    match (code, message) {
        (code, "") => code.to_owned(),
        ("", message) => message.to_owned(),
        (code, message) => format!("{code}, {message}"),
    }
}
