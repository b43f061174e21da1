//! How calls reach the server.

use std::future::Future;
use std::time::Duration;

use crate::{BoxError, Metric};

/// The longest wait a server can order. A slip of the pen in a proxy must not silence an agent for a year.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);

/// A way to make the calls of the POA Protocol for one agent. It logs in by itself, whenever that is needed.
///
/// Calls may be made at the same time, hence `&self`. Dropping the future of a call gives up on it; the server may or may not
/// have had it by then.
pub trait Transport: Send + Sync {
    /// Logs in. Called before anything else, so that a wrong password shows at once.
    ///
    /// # Errors
    /// See [`CallError`].
    fn connect(&self) -> impl Future<Output = Result<(), CallError>> + Send;

    /// Says that the agent is alive, and tells how long the answer took.
    ///
    /// # Errors
    /// See [`CallError`].
    fn ping(&self) -> impl Future<Output = Result<Duration, CallError>> + Send;

    /// Sends one metric. Success means that the server has acknowledged it.
    ///
    /// # Errors
    /// See [`CallError`].
    fn data(&self, metric: &Metric) -> impl Future<Output = Result<(), CallError>> + Send;

    /// Says that the agent leaves.
    ///
    /// # Errors
    /// See [`CallError`].
    fn bye(&self) -> impl Future<Output = Result<(), CallError>> + Send;

    /// Closes the connection after the last call. A transport without a persistent connection does nothing.
    fn close(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// Why a call did not succeed, told apart by what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The same call may succeed later: no connection, no answer in time, or the server asks for patience.
    #[error("{call} failed")]
    Unavailable {
        /// The call and its address.
        call: String,
        /// How long the server asks to be left alone.
        retry_after: Option<Duration>,
        /// The cause.
        #[source]
        source: BoxError,
    },
    /// This very call can never succeed.
    #[error("{call} was refused with status {status}: {message}")]
    Rejected {
        /// The call and its address.
        call: String,
        /// The HTTP status, also where the transport is not HTTP.
        status: u16,
        /// The message of the server.
        message: String,
    },
    /// There is no valid token, so nothing is known about the call itself.
    #[error("the login failed")]
    Login(#[from] LoginError),
}

impl CallError {
    /// How long the server asks to be left alone, at most ten minutes.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } => {
                retry_after.map(|asked| asked.min(MAX_RETRY_AFTER))
            }
            _ => None,
        }
    }

    /// True if another attempt may end better without anybody's help.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// Why the auth server gave no token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// Wrong name or password, or the user is not active.
    #[error(
        "{url} refused the user {user} with status {status}: check name and password, and that the user is active"
    )]
    Refused {
        /// The address of the login.
        url: String,
        /// The user name.
        user: String,
        /// The HTTP status.
        status: u16,
    },
    /// The server at this address is not an auth server.
    #[error("{url} answered {status} to a login: {message}; check the address of the auth server")]
    Unexpected {
        /// The address of the login.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The message of the server.
        message: String,
    },
    /// The answer holds no usable token.
    #[error("{url} answered a login without a token; check the address of the auth server")]
    NoToken {
        /// The address of the login.
        url: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_cannot_order_an_endless_wait() {
        let error = CallError::Unavailable {
            call: "POST /data".into(),
            retry_after: Some(Duration::from_secs(u64::MAX)),
            source: "busy".into(),
        };
        assert_eq!(error.retry_after(), Some(MAX_RETRY_AFTER));
    }
}
