//! The interface through which handlers authenticate clients.
//!
//! The core only defines the interface; the embedder chooses the implementation (users in a database, a directory, a fixed
//! list).

use std::net::IpAddr;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::{AgentId, BoxError};

/// Decides which clients may send.
///
/// ```
/// use poa_core::auth::{AuthError, Authenticator, Principal};
/// use poa_core::{AgentId, async_trait};
/// use tokio::sync::watch;
///
/// /// One token, from the environment of the process.
/// struct Fixed {
///     token: String,
///     revocations: watch::Sender<u64>,
/// }
///
/// #[async_trait]
/// impl Authenticator for Fixed {
///     fn verify(&self, token: &str) -> Result<Principal, AuthError> {
///         let known = token == self.token;
///         known.then(|| Principal::new("gateway", None)).ok_or(AuthError::Unauthorized)
///     }
///     async fn login(&self, _: &str, _: &str) -> Result<String, AuthError> {
///         Err(AuthError::Unauthorized) // there are no passwords
///     }
///     fn revocations(&self) -> watch::Receiver<u64> {
///         self.revocations.subscribe()
///     }
/// }
///
/// let fixed = Fixed { token: "t0ken".into(), revocations: watch::Sender::new(0) };
/// assert_eq!(&*fixed.verify("t0ken")?.user, "gateway");
/// assert!(matches!(fixed.verify("other"), Err(AuthError::Unauthorized)));
/// # Ok::<(), AuthError>(())
/// ```
#[async_trait]
pub trait Authenticator: Send + Sync + 'static {
    /// The identity that this token proves.
    ///
    /// On the path of every request: must not block and should not wait. The answer holds at the moment of the call; it may
    /// change with the next [revocation](Self::revocations).
    ///
    /// # Errors
    /// When the token does not permit sending.
    fn verify(&self, token: &str) -> Result<Principal, AuthError>;

    /// Creates a token for a user who presents a password.
    ///
    /// Cancel safe: a call that is dropped has created no token.
    ///
    /// # Errors
    /// When name or password are wrong, the user is inactive, or too many logins are in progress.
    async fn login(&self, user: &str, password: &str) -> Result<String, AuthError>;

    /// As [`login`](Self::login), for a user at this address, so that password guessing from one address does not delay other
    /// users.
    ///
    /// Cancel safe: a call that is dropped has created no token.
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

    /// A counter that increases whenever a token may have become invalid before its expiry.
    ///
    /// Handlers watch it for long-lived connections, and verify their tokens again when it increases.
    fn revocations(&self) -> watch::Receiver<u64>;
}

/// An authenticated user.
///
/// ```
/// use poa_core::AgentId;
/// use poa_core::auth::Principal;
///
/// let pump = Principal::new("pump-user", Some(AgentId::new("pump-7")?));
/// assert!(pump.may_speak_for("pump-7") && !pump.may_speak_for("pump-8"));
///
/// let gateway = Principal::new("gateway", None);
/// assert!(gateway.may_speak_for("pump-8"));
/// # Ok::<(), poa_core::InvalidAgentId>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Principal {
    /// The name of the user.
    pub user: std::sync::Arc<str>,
    /// The only agent this user may send for; any agent when absent.
    pub agent: Option<AgentId>,
}

impl Principal {
    /// A user who may send for `agent` alone, or for any agent.
    #[must_use]
    pub fn new(user: impl Into<std::sync::Arc<str>>, agent: Option<AgentId>) -> Self {
        Self { user: user.into(), agent }
    }

    /// Whether this user may send for the agent with this id.
    #[must_use]
    pub fn may_speak_for(&self, agent: &str) -> bool {
        self.agent.as_ref().is_none_or(|bound| bound.as_str() == agent)
    }
}

/// The reason why a client may not send.
///
/// See [`Authenticator`] for an example.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// The token is genuine but has expired.
    #[error("the token has expired")]
    Expired,
    /// The token, or name and password, are not valid.
    #[error("not authorised")]
    Unauthorized,
    /// Too many logins are being verified; try again later.
    #[error("too many logins at once")]
    Busy,
    /// The credentials could not be verified.
    #[error("cannot verify credentials")]
    Unavailable(#[source] BoxError),
}
