//! The one thing that knows who may do what.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant as StdInstant};

use parking_lot::{Mutex, MutexGuard};
use poa_core::auth::{AuthError, Authenticator, Principal};
use poa_core::telemetry::Telemetry;
use poa_core::{BoxError, Timestamp};
use quick_cache::sync::Cache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use crate::GeneratedAdmin;
use crate::admins::Admins;
use crate::directory::Directory;
use crate::metrics::{Metrics, Outcome};
use crate::name::check_name;
use crate::password::{self, HashCost};
use crate::store::{Store, Stored};
use crate::throttle::{Crowded, LONGEST, Throttle};
use crate::token::Tokens;
use crate::verdict::Verdict;

/// How long a login waits for its turn to be hashed.
const QUEUED: Duration = Duration::from_secs(5);

/// Users, admins and tokens of one data directory. Cloning is cheap: clones share everything.
///
/// It is an [`Authenticator`] for the host, and the resource that [`AuthHandler`](crate::AuthHandler) looks for.
#[derive(Clone)]
pub struct Auth(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) tokens: Tokens,
    pub(crate) directory: Directory,
    pub(crate) verified: Cache<Box<str>, Arc<Verdict>>,
    pub(crate) store: Mutex<Store>,
    pub(crate) admins: Admins,
    pub(crate) throttle: Throttle,
    pub(crate) hashing: Arc<Semaphore>,
    pub(crate) hash_cost: HashCost,
    pub(crate) dummy_hash: String,
    pub(crate) metrics: OnceLock<Metrics>,
}

/// Whose password is checked. Users and admins do not share names, and so no delays.
#[derive(Clone, Copy)]
pub(crate) enum Who {
    User,
    Admin,
}

impl Who {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Admin => "admin",
        }
    }

    /// What failures are counted by. Names that cannot exist share one count, and so cost no memory.
    fn key(self, name: &str) -> String {
        let name = if check_name(name).is_ok() { name } else { "" };
        format!("{}:{name}", self.name())
    }
}

/// A password that was presented and waits for no more.
struct Attempt {
    who: Who,
    key: String,
    name: String,
    password: String,
    _permit: OwnedSemaphorePermit,
}

impl Auth {
    /// Checks the credentials of an admin.
    ///
    /// Waits for its turn, and longer after repeated failures. Cancel safe: a dropped call counts as an attempt or not at all.
    ///
    /// # Errors
    /// When name or password are wrong, or too many are asking.
    pub async fn authenticate_admin(&self, name: &str, password: &str) -> Result<(), AuthError> {
        let attempt = self.attempt(Who::Admin, name, password).await?;
        self.blocking(move |inner| inner.check_admin(&attempt)).await?
    }

    /// The admin that was made because the configuration names none.
    #[must_use]
    pub fn generated_admin(&self) -> Option<&GeneratedAdmin> {
        self.0.admins.generated()
    }

    /// Counts from now on in these metrics: `poa_auth_logins_total`, `poa_auth_hash_seconds`, `poa_auth_cached_tokens`.
    ///
    /// The first call decides; [`AuthHandler`](crate::AuthHandler) makes it with the metrics of its host.
    pub fn observe(&self, telemetry: &Telemetry) {
        self.0.metrics.get_or_init(|| Metrics::new(telemetry));
    }

    /// Waits for the turn of an attempt.
    async fn attempt(&self, who: Who, name: &str, password: &str) -> Result<Attempt, AuthError> {
        let key = who.key(name);
        match self.turn(&key, password).await {
            Ok(permit) => Ok(Attempt {
                who,
                key,
                name: name.to_owned(),
                password: password.to_owned(),
                _permit: permit,
            }),
            Err(error) => {
                self.0.count(who, Outcome::Busy);
                Err(error)
            }
        }
    }

    async fn turn(&self, key: &str, password: &str) -> Result<OwnedSemaphorePermit, AuthError> {
        let throttle = &self.0.throttle;
        let latest = Instant::now() + LONGEST;
        loop {
            throttle.wait(key, password, latest).await.map_err(|Crowded| AuthError::Busy)?;
            let permit = self.permit().await.ok_or(AuthError::Busy)?;
            // Others may have failed while this one waited for its permit.
            if throttle.due(key, password).is_none() || Instant::now() >= latest {
                return Ok(permit);
            }
        }
    }

    /// Leave to compute one hash.
    pub(crate) async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        let permit = self.0.hashing.clone().acquire_owned();
        tokio::time::timeout(QUEUED, permit).await.ok()?.ok()
    }

    /// Does work that blocks. It is finished even when nobody waits for it any more.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> T + Send + 'static,
    ) -> Result<T, Interrupted> {
        let inner = self.0.clone();
        tokio::task::spawn_blocking(move || work(&inner))
            .await
            .map_err(|error| Interrupted(error.into()))
    }
}

/// Work that blocks came to no end: it panicked, or the runtime is shutting down.
pub(crate) struct Interrupted(pub(crate) BoxError);

impl From<Interrupted> for AuthError {
    fn from(interrupted: Interrupted) -> Self {
        Self::Unavailable(interrupted.0)
    }
}

impl Inner {
    /// The database, with everything other processes did to it.
    pub(crate) fn store(&self) -> rusqlite::Result<MutexGuard<'_, Store>> {
        let mut store = self.store.lock();
        if let Some(members) = store.changed_elsewhere()? {
            self.directory.revoke(|mirror| *mirror = members);
        }
        Ok(store)
    }

    fn login(&self, attempt: &Attempt) -> Result<String, AuthError> {
        let stored = self.find(&attempt.name)?;
        let right =
            self.matches(stored.as_ref().map(|user| &*user.password_hash), &attempt.password);
        let active = stored.filter(|user| right && user.member.active);
        self.settle(attempt, active.is_some())?;
        let user = active.ok_or(AuthError::Unauthorized)?;
        Ok(self.tokens.issue(&user.name, Timestamp::now(), user.member.tokens_since))
    }

    fn find(&self, name: &str) -> Result<Option<Stored>, AuthError> {
        self.store().and_then(|store| store.user(name)).map_err(|error| {
            self.count(Who::User, Outcome::Failed);
            AuthError::Unavailable(error.into())
        })
    }

    fn check_admin(&self, attempt: &Attempt) -> Result<(), AuthError> {
        let right = self
            .admins
            .check(&attempt.name, &attempt.password, |hash| self.matches(hash, &attempt.password));
        self.settle(attempt, right)
    }

    /// Compares with a hash; without one it takes as long, and is false.
    fn matches(&self, hash: Option<&str>, password: &str) -> bool {
        let begin = StdInstant::now();
        let right = password::matches(hash.unwrap_or(&self.dummy_hash), password);
        if let Some(metrics) = self.metrics.get() {
            metrics.hash.observe(begin.elapsed().as_secs_f64());
        }
        right && hash.is_some()
    }

    fn settle(&self, attempt: &Attempt, right: bool) -> Result<(), AuthError> {
        if right {
            self.throttle.succeeded(&attempt.key, &attempt.password);
            self.count(attempt.who, Outcome::Accepted);
            Ok(())
        } else {
            self.throttle.failed(&attempt.key);
            self.count(attempt.who, Outcome::Refused);
            Err(AuthError::Unauthorized)
        }
    }

    fn count(&self, who: Who, outcome: Outcome) {
        if let Some(metrics) = self.metrics.get() {
            metrics.login(who, outcome).inc();
        }
    }
}

#[poa_core::async_trait]
impl Authenticator for Auth {
    fn verify(&self, token: &str) -> Result<Principal, AuthError> {
        self.0.verdict(token, Timestamp::now()).map(|verdict| verdict.principal.clone())
    }

    async fn login(&self, user: &str, password: &str) -> Result<String, AuthError> {
        let attempt = self.attempt(Who::User, user, password).await?;
        self.blocking(move |inner| inner.login(&attempt)).await?
    }

    fn revocations(&self) -> watch::Receiver<u64> {
        self.0.directory.revocations()
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Auth")
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::{AuthConfig, NewUser, UserError};

    fn open() -> (TempDir, Auth) {
        let dir = tempfile::tempdir().unwrap();
        let config = AuthConfig { hash_cost: HashCost::for_tests(), ..AuthConfig::default() };
        let auth = Auth::open(config, dir.path()).unwrap();
        (dir, auth)
    }

    #[tokio::test(start_paused = true)]
    async fn when_every_core_hashes_the_next_waits_a_while_and_is_sent_away() {
        let (_dir, auth) = open();
        let all = u32::try_from(auth.0.hashing.available_permits()).unwrap();
        let held = auth.0.hashing.clone().acquire_many_owned(all).await.unwrap();
        let begin = Instant::now();
        assert!(matches!(auth.login("alice", "password").await, Err(AuthError::Busy)));
        assert_eq!(begin.elapsed(), QUEUED);
        let added = auth.add_user(NewUser::default()).await;
        assert!(matches!(added, Err(UserError::Busy)));
        drop(held);
        assert!(matches!(auth.login("alice", "password").await, Err(AuthError::Unauthorized)));
    }

    #[test]
    fn names_that_cannot_exist_are_counted_together() {
        assert_eq!(Who::User.key("alice"), "user:alice");
        assert_eq!(Who::Admin.key("alice"), "admin:alice");
        assert_eq!(Who::User.key(&"x".repeat(256)), Who::User.key("a:b"));
    }
}
