//! Who speaks over a connection, and for how long.

use std::sync::Arc;
use std::time::Duration;

use poa_core::auth::{AuthError, Authenticator, Principal};
use poa_protocol::Refusal;
use tokio::sync::watch;
use tokio::time::Instant;

/// The largest message of somebody who is not known yet, in bytes.
pub(crate) const STRANGER: usize = 16 << 10;

/// How long a verified token is believed while nothing is revoked.
const BELIEVED: Duration = Duration::from_secs(1);

/// What a connection has a right to.
pub(crate) struct Access {
    /// When absent, everybody may speak.
    authenticator: Option<Arc<dyn Authenticator>>,
    /// How long it may stay without a valid token.
    patience: Duration,
    standing: Standing,
}

enum Standing {
    /// Everybody may speak.
    Anybody,
    /// Nobody does, until a session is opened.
    Nobody { until: Instant, refusal: Refusal },
    /// The bearer of this token.
    Known { token: Box<str>, caller: Principal, verified: Instant },
    /// The bearer of a token that was valid once, and is banned, or its user is no more.
    Revoked,
}

impl Access {
    /// A wrong token is an error, none is not.
    pub(crate) fn new(
        authenticator: Option<&Arc<dyn Authenticator>>,
        patience: Duration,
        token: Option<&str>,
    ) -> Result<Self, Refusal> {
        let now = Instant::now();
        let standing = match (authenticator, token) {
            (None, _) => Standing::Anybody,
            (Some(_), None) => {
                Standing::Nobody { until: now + patience, refusal: Refusal::Unauthorized }
            }
            (Some(authenticator), Some(token)) => Standing::Known {
                caller: authenticator.verify(token)?,
                token: token.into(),
                verified: now,
            },
        };
        Ok(Self { authenticator: authenticator.cloned(), patience, standing })
    }

    /// Whether anything but a session may be asked for.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.standing, Standing::Anybody | Standing::Known { .. })
    }

    pub(crate) fn is_revoked(&self) -> bool {
        matches!(self.standing, Standing::Revoked)
    }

    /// When the time to open a session is over.
    pub(crate) fn until(&self) -> Option<Instant> {
        match self.standing {
            Standing::Nobody { until, .. } => Some(until),
            _ => None,
        }
    }

    /// Gives the time to open a session once more: one is being opened.
    pub(crate) fn wait_longer(&mut self) {
        if let Standing::Nobody { until, .. } = &mut self.standing {
            *until = Instant::now() + self.patience;
        }
    }

    /// Moves whenever a token may have been revoked.
    pub(crate) fn revocations(&self) -> Option<watch::Receiver<u64>> {
        self.authenticator.as_ref().map(|authenticator| authenticator.revocations())
    }

    /// Who calls; nobody in particular when everybody may.
    pub(crate) fn caller(&mut self) -> Result<Option<&Principal>, Refusal> {
        if let Standing::Known { verified, .. } = &self.standing
            && verified.elapsed() >= BELIEVED
        {
            self.verify_again()?;
        }
        match &self.standing {
            Standing::Anybody => Ok(None),
            Standing::Nobody { refusal, .. } => Err(refusal.clone()),
            Standing::Known { caller, .. } => Ok(Some(caller)),
            Standing::Revoked => Err(Refusal::Unauthorized),
        }
    }

    /// Looks whether the token is still valid. An error says only that this cannot be told now.
    pub(crate) fn verify_again(&mut self) -> Result<(), Refusal> {
        let (Some(authenticator), Standing::Known { token, caller, verified }) =
            (&self.authenticator, &mut self.standing)
        else {
            return Ok(());
        };
        let now = Instant::now();
        match authenticator.verify(token) {
            Ok(principal) => {
                *caller = principal;
                *verified = now;
            }
            Err(AuthError::Expired) => {
                let refusal = Refusal::TokenExpired;
                self.standing = Standing::Nobody { until: now + self.patience, refusal };
            }
            Err(AuthError::Unauthorized) => self.standing = Standing::Revoked,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Asks for a session; what it gives goes to [`Self::grant`]. Where everybody may speak, nobody has a password.
    pub(crate) fn login(
        &self,
        user: &str,
        password: &str,
    ) -> Option<impl Future<Output = Result<String, AuthError>> + Send + 'static> {
        let authenticator = self.authenticator.clone()?;
        let (user, password) = (user.to_owned(), password.to_owned());
        Some(async move { authenticator.login(&user, &password).await })
    }

    /// From now on, the bearer of this new token speaks.
    pub(crate) fn grant(&mut self, token: &str) -> Result<(), Refusal> {
        let Some(authenticator) = &self.authenticator else { return Ok(()) };
        let caller = authenticator.verify(token)?;
        self.standing = Standing::Known { token: token.into(), caller, verified: Instant::now() };
        Ok(())
    }
}
