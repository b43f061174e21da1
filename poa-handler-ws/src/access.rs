//! Who speaks over a connection, and for how long.

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

/// The longest name and password together, in bytes: they are kept while they wait for their turn.
const LONGEST_LOGIN: usize = STRANGER;

/// How long a verified token is believed while nothing is revoked.
const BELIEVED: Duration = Duration::from_secs(1);

/// What a connection has a right to.
pub(crate) struct Access {
    /// Without one, no token is needed.
    authenticator: Option<Arc<dyn Authenticator>>,
    /// Where logins come from.
    peer: Option<IpAddr>,
    /// How long it may stay without a valid token.
    patience: Duration,
    standing: Standing,
    /// Moves before a revocation is confirmed. A move after the last look has not been looked at yet.
    revocations: Option<watch::Receiver<u64>>,
}

enum Standing {
    /// No token is needed.
    Open,
    /// A session has to be opened. Once the time is over, only the login in progress still counts.
    Unknown { until: Instant, refusal: Refusal, over: bool },
    /// The bearer of this token.
    Known { token: Box<str>, caller: Principal, verified: Instant },
    /// The bearer of a token that was valid, and was banned, or whose user was deleted or deactivated.
    Revoked,
}

impl Access {
    /// A wrong token is an error, none is not.
    pub(crate) fn new(
        authenticator: Option<&Arc<dyn Authenticator>>,
        patience: Duration,
        token: Option<&str>,
    ) -> Result<Self, Refusal> {
        // First, so that nothing falls between it and the token.
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

    /// The same, over a connection from this address.
    pub(crate) fn at(self, peer: IpAddr) -> Self {
        Self { peer: Some(peer), ..self }
    }

    /// What tells the other side apart by its address.
    pub(crate) fn network(&self) -> Option<IpAddr> {
        self.peer.map(network)
    }

    /// Whether anything but a session may be asked for.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.standing, Standing::Open | Standing::Known { .. })
    }

    pub(crate) fn is_revoked(&self) -> bool {
        matches!(self.standing, Standing::Revoked)
    }

    /// When the time to open a session is over.
    pub(crate) fn until(&self) -> Option<Instant> {
        match self.standing {
            Standing::Unknown { until, .. } => Some(until),
            _ => None,
        }
    }

    /// The time is over, and a login is under way: it is the last, and is waited for.
    pub(crate) fn wait_for_last(&mut self) {
        if let Standing::Unknown { until, over, .. } = &mut self.standing {
            *until = Instant::now() + self.patience;
            *over = true;
        }
    }

    /// Whether the time to open a session is over.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.standing, Standing::Unknown { over: true, .. })
    }

    /// On whose behalf calls are made, once that is known.
    pub(crate) fn user(&self) -> Option<&Arc<str>> {
        match &self.standing {
            Standing::Known { caller, .. } => Some(&caller.user),
            _ => None,
        }
    }

    /// Moves whenever a token may have been revoked.
    pub(crate) fn revocations(&self) -> Option<watch::Receiver<u64>> {
        self.revocations.clone()
    }

    /// The caller; `None` where no token is needed.
    ///
    /// A right that was taken away before the call was sent does not count any more.
    pub(crate) fn caller(&mut self) -> Result<Option<&Principal>, Refusal> {
        if let Standing::Known { verified, .. } = &self.standing
            && (self.was_revoked_since() || verified.elapsed() >= BELIEVED)
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

    /// Whether any token was revoked since the last look.
    fn was_revoked_since(&self) -> bool {
        self.revocations.as_ref().is_some_and(|moved| moved.has_changed().unwrap_or(false))
    }

    /// Looks whether the token is still valid. An error says only that this cannot be told now.
    pub(crate) fn verify_again(&mut self) -> Result<(), Refusal> {
        // Before the look: what moves meanwhile is looked at once more.
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

    /// Asks for a session; what it gives goes to [`Self::grant`]. `None` where no token is needed, and for
    /// longer names and passwords than there are.
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

    /// From now on, the bearer of this new token speaks.
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

    /// Every token is valid until it says otherwise.
    struct Users {
        verdict: Mutex<fn() -> Result<Principal, AuthError>>,
        moved: watch::Sender<u64>,
    }

    impl Users {
        /// As a revocation does it: first the verdict, then the word.
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
    async fn a_revocation_counts_at_once() {
        let (users, mut access) = known();
        assert!(access.caller().is_ok());
        users.say(|| Err(AuthError::Unauthorized));
        assert_eq!(access.caller().unwrap_err(), Refusal::Unauthorized);
        assert!(access.is_revoked());
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_told_is_asked_again() {
        let (users, mut access) = known();
        users.say(|| Err(AuthError::Busy));
        for _ in 0..2 {
            assert_eq!(access.caller().unwrap_err().status(), 503);
        }
        *users.verdict.lock().unwrap() = || Ok(Principal::new("alice", None));
        assert!(access.caller().is_ok());
    }
}
