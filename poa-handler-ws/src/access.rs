//! The authorisation of a connection, and its lifetime.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use poa_core::auth::{AuthError, Authenticator, Principal};
use poa_http::network;
use poa_protocol::Refusal;
use tokio::sync::watch;
use tokio::time::Instant;

/// The largest message of a client without a session, in bytes.
pub(crate) const STRANGER: usize = 16 << 10;

/// The longest name and password together, in bytes: they are kept while the login waits for its turn.
const LONGEST_LOGIN: usize = STRANGER;

/// How long a verified token is trusted while no token is revoked.
const BELIEVED: Duration = Duration::from_secs(1);

/// The authorisation of a connection.
pub(crate) struct Access {
    /// Without one, no token is needed.
    authenticator: Option<Arc<dyn Authenticator>>,
    /// The address that logins come from.
    peer: Option<IpAddr>,
    /// How long it may stay open without a valid token.
    patience: Duration,
    standing: Standing,
    /// Increases before a revocation is confirmed. An increase since the last check has not been checked
    /// yet.
    revocations: Option<watch::Receiver<u64>>,
}

enum Standing {
    /// No token is needed.
    Open,
    /// A session has to be opened. After the deadline, only the login in progress still counts.
    Unknown { until: Instant, refusal: Refusal, over: bool },
    /// Authenticated by this token.
    Known { token: Box<str>, caller: Principal, verified: Instant },
    /// Authenticated by a token that was valid, and was banned, or whose user was deleted or deactivated.
    Revoked,
}

impl Access {
    /// A wrong token is an error, an absent one is not.
    pub(crate) fn new(
        authenticator: Option<&Arc<dyn Authenticator>>,
        patience: Duration,
        token: Option<&str>,
    ) -> Result<Self, Refusal> {
        // First, so that no revocation is missed between it and the token.
        let revocations = authenticator.map(|authenticator| authenticator.revocations());
        let standing = match (authenticator, token) {
            (None, _) => Standing::Open,
            (Some(_), None) => unknown(patience, Refusal::Unauthorized),
            (Some(authenticator), Some(token)) => Standing::Known {
                caller: authenticator.verify(token)?,
                token: token.into(),
                verified: Instant::now(),
            },
        };
        let authenticator = authenticator.cloned();
        Ok(Self { authenticator, peer: None, patience, standing, revocations })
    }

    /// The same, for a connection from this address.
    pub(crate) fn at(self, peer: IpAddr) -> Self {
        Self { peer: Some(peer), ..self }
    }

    /// The part of the address that identifies the client.
    pub(crate) fn network(&self) -> Option<IpAddr> {
        self.peer.map(network)
    }

    /// Whether calls other than `session` are permitted.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.standing, Standing::Open | Standing::Known { .. })
    }

    pub(crate) fn is_revoked(&self) -> bool {
        matches!(self.standing, Standing::Revoked)
    }

    /// The deadline for opening a session.
    pub(crate) fn until(&self) -> Option<Instant> {
        match self.standing {
            Standing::Unknown { until, .. } => Some(until),
            _ => None,
        }
    }

    /// The deadline has passed during a login: that login is the last, and is waited for.
    pub(crate) fn wait_for_last(&mut self) {
        if let Standing::Unknown { until, over, .. } = &mut self.standing {
            *until = Instant::now() + self.patience;
            *over = true;
        }
    }

    /// Whether the deadline for opening a session has passed.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.standing, Standing::Unknown { over: true, .. })
    }

    /// The user that calls are charged to, once known.
    pub(crate) fn user(&self) -> Option<&Arc<str>> {
        match &self.standing {
            Standing::Known { caller, .. } => Some(&caller.user),
            _ => None,
        }
    }

    /// Increases whenever a token may have been revoked.
    pub(crate) fn revocations(&self) -> Option<watch::Receiver<u64>> {
        self.revocations.clone()
    }

    /// The user; `None` where no token is needed.
    ///
    /// An authorisation that was revoked before the call was sent no longer counts.
    pub(crate) fn caller(&mut self, now: Instant) -> Result<Option<&Principal>, Refusal> {
        if let Standing::Known { verified, .. } = &self.standing
            && (self.was_revoked_since() || now.saturating_duration_since(*verified) >= BELIEVED)
        {
            self.verify_again()?;
        }
        match &self.standing {
            Standing::Open => Ok(None),
            Standing::Unknown { refusal, .. } => Err(refusal.clone()),
            Standing::Known { caller, .. } => Ok(Some(caller)),
            Standing::Revoked => Err(Refusal::Unauthorized),
        }
    }

    /// Whether any token was revoked since the last check.
    fn was_revoked_since(&self) -> bool {
        self.revocations.as_ref().is_some_and(|moved| moved.has_changed().unwrap_or(false))
    }

    /// Checks whether the token is still valid. An error means only that this is unknown now.
    pub(crate) fn verify_again(&mut self) -> Result<(), Refusal> {
        // Before the check: a revocation during it is checked again.
        if let Some(moved) = &mut self.revocations {
            moved.mark_unchanged();
        }
        let seen = self.look_again();
        if let (Err(_), Some(moved)) = (&seen, &mut self.revocations) {
            moved.mark_changed();
        }
        seen
    }

    fn look_again(&mut self) -> Result<(), Refusal> {
        let (Some(authenticator), Standing::Known { token, caller, verified }) =
            (&self.authenticator, &mut self.standing)
        else {
            return Ok(());
        };
        match authenticator.verify(token) {
            Ok(principal) => {
                *caller = principal;
                *verified = Instant::now();
            }
            Err(AuthError::Expired) => {
                self.standing = unknown(self.patience, Refusal::TokenExpired);
            }
            Err(AuthError::Unauthorized) => self.standing = Standing::Revoked,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Requests a session; its result goes to [`Self::grant`]. `None` where no token is needed, and for
    /// names and passwords that are too long.
    pub(crate) fn login(
        &self,
        user: &str,
        password: &str,
    ) -> Option<impl Future<Output = Result<String, AuthError>> + Send + 'static> {
        let authenticator = self.authenticator.clone()?;
        if user.len() + password.len() > LONGEST_LOGIN {
            return None;
        }
        let (user, password) = (user.to_owned(), password.to_owned());
        let peer = self.peer;
        Some(async move { authenticator.login_from(&user, &password, peer).await })
    }

    /// From now on, the connection is authenticated by this new token.
    pub(crate) fn grant(&mut self, token: &str) -> Result<(), Refusal> {
        let Some(authenticator) = &self.authenticator else { return Ok(()) };
        let caller = authenticator.verify(token)?;
        self.standing = Standing::Known { token: token.into(), caller, verified: Instant::now() };
        Ok(())
    }
}

/// A session has to be opened within this time.
fn unknown(patience: Duration, refusal: Refusal) -> Standing {
    Standing::Unknown { until: Instant::now() + patience, refusal, over: false }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Every token is valid until it is revoked here.
    struct Users {
        verdict: Mutex<fn() -> Result<Principal, AuthError>>,
        moved: watch::Sender<u64>,
    }

    impl Users {
        /// In the order of a real revocation: first the decision, then the notification.
        fn say(&self, verdict: fn() -> Result<Principal, AuthError>) {
            *self.verdict.lock().unwrap() = verdict;
            self.moved.send_modify(|count| *count += 1);
        }
    }

    #[poa_core::async_trait]
    impl Authenticator for Users {
        fn verify(&self, _: &str) -> Result<Principal, AuthError> {
            self.verdict.lock().unwrap()()
        }

        async fn login(&self, _: &str, _: &str) -> Result<String, AuthError> {
            Err(AuthError::Unauthorized)
        }

        fn revocations(&self) -> watch::Receiver<u64> {
            self.moved.subscribe()
        }
    }

    fn known() -> (Arc<Users>, Access) {
        let good = || Ok(Principal::new("alice", None));
        let users = Arc::new(Users { verdict: Mutex::new(good), moved: watch::Sender::new(0) });
        let authenticator: Arc<dyn Authenticator> = users.clone();
        let access = Access::new(Some(&authenticator), Duration::from_secs(5), Some("token"));
        (users, access.unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_revocation_takes_effect_immediately() {
        let (users, mut access) = known();
        assert!(access.caller(Instant::now()).is_ok());
        users.say(|| Err(AuthError::Unauthorized));
        assert_eq!(access.caller(Instant::now()).unwrap_err(), Refusal::Unauthorized);
        assert!(access.is_revoked());
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_verification_is_repeated() {
        let (users, mut access) = known();
        users.say(|| Err(AuthError::Busy));
        for _ in 0..2 {
            assert_eq!(access.caller(Instant::now()).unwrap_err().status(), 503);
        }
        *users.verdict.lock().unwrap() = || Ok(Principal::new("alice", None));
        assert!(access.caller(Instant::now()).is_ok());
    }
}
