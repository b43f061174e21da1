//! What handlers ask about those who call them.
//!
//! The core only knows the question; who answers it (users in a database, a directory, a fixed list) is the embedder's choice.

use std::net::IpAddr;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::{AgentId, BoxError};

/// Decides who may speak.
#[async_trait]
pub trait Authenticator: Send + Sync + 'static {
    /// Who presents this token.
    ///
    /// On the path of every request: must not block and should not wait for anything. What it answers holds at the moment
    /// of the call; it may change with the next [revocation](Self::revocations).
    ///
    /// # Errors
    /// When the token gives no right to speak.
    fn verify(&self, token: &str) -> Result<Principal, AuthError>;

    /// Makes a token for a user who presents a password.
    ///
    /// Cancel safe: a call that is dropped has made no token.
    ///
    /// # Errors
    /// When name or password are wrong, the user is inactive, or too many are asking.
    async fn login(&self, user: &str, password: &str) -> Result<String, AuthError>;

    /// As [`login`](Self::login), for a user at this address, so that those who guess passwords there do not hold up others.
    ///
    /// Cancel safe: a call that is dropped has made no token.
    ///
    /// # Errors
    /// As [`login`](Self::login).
    async fn login_from(
        &self,
        user: &str,
        password: &str,
        address: Option<IpAddr>,
    ) -> Result<String, AuthError> {
        let _ = address;
        self.login(user, password).await
    }

    /// A counter that moves whenever a token may have stopped to be valid before its time.
    ///
    /// Long-lived connections watch it, and verify their token again when it moves.
    fn revocations(&self) -> watch::Receiver<u64>;
}

/// Somebody who may speak.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Principal {
    /// The name of the user.
    pub user: std::sync::Arc<str>,
    /// The only agent this user may speak for; any agent when absent.
    pub agent: Option<AgentId>,
}

impl Principal {
    /// A user who may speak for `agent` alone, or for any agent.
    #[must_use]
    pub fn new(user: impl Into<std::sync::Arc<str>>, agent: Option<AgentId>) -> Self {
        Self { user: user.into(), agent }
    }

    /// True when this user may speak for the agent with this id.
    #[must_use]
    pub fn may_speak_for(&self, agent: &str) -> bool {
        self.agent.as_ref().is_none_or(|bound| bound.as_str() == agent)
    }
}

/// Why somebody may not speak.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// The token is genuine, but its time has passed.
    #[error("the token has expired")]
    Expired,
    /// The token, or name and password, are not valid.
    #[error("not authorised")]
    Unauthorized,
    /// Too many are being verified at once; try again later.
    #[error("too many logins at once")]
    Busy,
    /// The question could not be answered.
    #[error("cannot verify credentials")]
    Unavailable(#[source] BoxError),
}
