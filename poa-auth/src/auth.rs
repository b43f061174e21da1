//! The entry point: users, admins and tokens of one data directory.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant as StdInstant};

use parking_lot::{Mutex, MutexGuard};
use poa_core::auth::{AuthError, Authenticator, Principal};
use poa_core::telemetry::Telemetry;
use poa_core::{BoxError, Timestamp};
use quick_cache::sync::Cache;
use tokio::sync::watch;

use crate::admins::Admins;
use crate::backing::{Backing, BackingError};
use crate::contact::Contact;
use crate::directory::Directory;
use crate::issued::Token;
use crate::metrics::{Metrics, Outcome};
use crate::name::check_name;
use crate::password::Hasher;
use crate::queue::{Crowded, Permit, Queue};
use crate::store::Stored;
use crate::token::Tokens;
use crate::trusted::Trusted;
use crate::verdict::Verdict;
use crate::{AuthConfig, GeneratedAdmin, Role};

/// The address of an attempt whose origin is unknown.
const ANYWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

/// Users, admins and tokens of one data directory. Cloning is cheap: clones share everything.
///
/// It is an [`Authenticator`] for the host, and the resource that [`AuthHandler`](crate::AuthHandler) requires.
#[derive(Clone)]
pub struct Auth(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) config: AuthConfig,
    pub(crate) data_dir: PathBuf,
    /// The warning about missing users, if any.
    pub(crate) lost_users: Option<String>,
    /// Set once the key that signs tokens is known.
    pub(crate) tokens: OnceLock<Tokens>,
    pub(crate) directory: Directory,
    /// Tokens that are not written to the list yet.
    pub(crate) issued: Mutex<Vec<Token>>,
    pub(crate) verified: Cache<Box<str>, Arc<Verdict>>,
    pub(crate) store: Mutex<Backing>,
    pub(crate) contact: Contact,
    /// How long tokens are accepted without contact to a shared store.
    pub(crate) contact_limit: Duration,
    pub(crate) admins: Admins,
    pub(crate) queue: Queue,
    pub(crate) trusted: Trusted,
    pub(crate) hasher: Hasher,
    pub(crate) dummy_hash: String,
    pub(crate) metrics: OnceLock<Metrics>,
}

/// The owner of a password that is checked. Users and admins do not share names, and so no delays.
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

    /// The key by which failures are counted. Names that cannot exist share one count, and so cost no memory.
    fn key(self, name: &str) -> String {
        let name = if check_name(name).is_ok() { name } else { "" };
        format!("{}:{name}", self.name())
    }
}

/// A password that was presented.
struct Attempt {
    who: Who,
    key: String,
    name: String,
    password: String,
    from: IpAddr,
}

impl Attempt {
    fn new(who: Who, name: &str, password: &str, from: IpAddr) -> Self {
        let (name, password) = (name.to_owned(), password.to_owned());
        Self { who, key: who.key(&name), name, password, from: poa_http::network(from) }
    }
}

impl Auth {
    /// A password that was verified before, in this process, is not hashed again and does not wait.
    async fn login_at(
        &self,
        user: &str,
        password: &str,
        from: IpAddr,
    ) -> Result<String, AuthError> {
        let attempt = Arc::new(Attempt::new(Who::User, user, password, from));
        if self.0.trusted.find(&attempt.key, password).is_some() {
            let known = attempt.clone();
            if let Some(token) = self.blocking(move |inner| inner.login_again(&known)).await?? {
                return Ok(token);
            }
        }
        let permit = self.turn(&attempt).await?;
        self.hashing(permit, move |inner| inner.login(&attempt)).await?
    }

    /// Checks the credentials of an admin, presented from this address, and returns what the admin may do.
    ///
    /// A password that is in the configuration, or was verified before, is not hashed and does not wait. Others wait for their turn, and
    /// longer after repeated failures. Cancel safe: a dropped call counts as an attempt or not at all.
    ///
    /// # Errors
    /// When name or password are wrong, or too many attempts are waiting.
    pub async fn authenticate_admin(
        &self,
        name: &str,
        password: &str,
        from: IpAddr,
    ) -> Result<Role, AuthError> {
        let attempt = Attempt::new(Who::Admin, name, password, from);
        if self.0.knows_admin(&attempt) {
            self.0.settle(&attempt, true);
            return Ok(self.0.admins.role(name));
        }
        let permit = self.turn(&attempt).await?;
        self.hashing(permit, move |inner| inner.check_admin(&attempt)).await??;
        Ok(self.0.admins.role(name))
    }

    /// The admin that was generated because the configuration names none.
    #[must_use]
    pub fn generated_admin(&self) -> Option<&GeneratedAdmin> {
        self.0.admins.generated()
    }

    /// Counts in these metrics from now on: `poa_auth_logins_total`, `poa_auth_hash_seconds`, `poa_auth_cached_tokens`.
    ///
    /// Only the first call has an effect; [`AuthHandler`](crate::AuthHandler) makes it with the metrics of its host.
    pub fn observe(&self, telemetry: &Telemetry) {
        self.0.metrics.get_or_init(|| Metrics::new(telemetry));
    }

    /// Waits for the turn of an attempt.
    async fn turn(&self, attempt: &Attempt) -> Result<Permit, AuthError> {
        self.0.queue.enter(&attempt.key, attempt.from).await.map_err(|Crowded| {
            self.0.count(attempt.who, Outcome::Busy);
            AuthError::Busy
        })
    }

    /// Runs blocking work that computes hashes.
    pub(crate) async fn hashing<T: Send + 'static>(
        &self,
        permit: Permit,
        work: impl FnOnce(&Inner) -> T + Send + 'static,
    ) -> Result<T, Interrupted> {
        self.blocking(move |inner| {
            let _permit = permit;
            work(inner)
        })
        .await
    }

    /// Runs blocking work. It is completed even if the caller is dropped.
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

/// Blocking work was not completed: it panicked, or the runtime is shutting down.
pub(crate) struct Interrupted(pub(crate) BoxError);

impl From<Interrupted> for AuthError {
    fn from(interrupted: Interrupted) -> Self {
        Self::Unavailable(interrupted.0)
    }
}

impl Inner {
    /// The database, including the changes of other processes.
    pub(crate) fn store(&self) -> Result<MutexGuard<'_, Backing>, BackingError> {
        let mut store = self.store.lock();
        if let Some(members) = store.changed_elsewhere()? {
            self.directory.replace(members);
        }
        Ok(store)
    }

    fn login(&self, attempt: &Attempt) -> Result<String, AuthError> {
        // While it waited, another attempt with the same password may have succeeded.
        if self.trusted.find(&attempt.key, &attempt.password).is_some()
            && let Some(token) = self.login_again(attempt)?
        {
            return Ok(token);
        }
        let stored = self.find(&attempt.name)?;
        let hash = stored.as_ref().map(|user| &*user.password_hash);
        let right = self.matches(hash.unwrap_or(&self.dummy_hash), &attempt.password);
        let right = hash.filter(|_| right);
        if let Some(hash) = right {
            self.trusted.remember(&attempt.key, &attempt.password, hash);
        }
        let active = right.is_some() && stored.as_ref().is_some_and(|user| user.member.active);
        self.settle(attempt, active);
        match stored.filter(|_| active) {
            Some(user) => self.token(&user, attempt.from),
            None => Err(AuthError::Unauthorized),
        }
    }

    /// A token for a user whose password was just verified; `None` if it has been changed since.
    fn login_again(&self, attempt: &Attempt) -> Result<Option<String>, AuthError> {
        let Some(user) = self.find(&attempt.name)? else { return Ok(None) };
        let right = self.trusted.find(&attempt.key, &attempt.password);
        if right.is_none_or(|right| right.hash != user.password_hash) {
            return Ok(None);
        }
        self.settle(attempt, user.member.active);
        if !user.member.active {
            return Err(AuthError::Unauthorized);
        }
        self.token(&user, attempt.from).map(Some)
    }

    fn token(&self, user: &Stored, from: IpAddr) -> Result<String, AuthError> {
        let tokens = self.tokens()?;
        let token = tokens.issue(&user.name, Timestamp::now(), user.member.tokens_since);
        let noted = tokens.read(&token).map_or(Ok(()), |facts| self.note(Token::new(&facts, from)));
        if let Err(error) = noted {
            // A login must not fail because of a list.
            tracing::warn!("cannot write the list of tokens: {error}");
        }
        Ok(token)
    }

    /// The issuer and reader of tokens.
    ///
    /// # Errors
    /// When the key is not known yet, or contact to the other nodes has been lost for too long.
    pub(crate) fn tokens(&self) -> Result<&Tokens, AuthError> {
        match self.tokens.get() {
            _ if self.contact.is_closed() => Err(AuthError::Unavailable(
                "changes of users have not been seen for too long".into(),
            )),
            Some(tokens) => Ok(tokens),
            None => Err(AuthError::Unavailable("the users are not loaded yet".into())),
        }
    }

    fn find(&self, name: &str) -> Result<Option<Stored>, AuthError> {
        self.store().and_then(|store| store.user(name)).map_err(|error| {
            self.count(Who::User, Outcome::Failed);
            AuthError::Unavailable(error.into())
        })
    }

    /// Whether these are an admin's credentials, as far as can be determined without a hash.
    fn knows_admin(&self, attempt: &Attempt) -> bool {
        self.admins.knows(&attempt.name, &attempt.password)
            || self.trusted.find(&attempt.key, &attempt.password).is_some()
    }

    /// Every name costs the same hashes: one of each cost that occurs among the admins, so that the time does not reveal which names
    /// exist.
    fn check_admin(&self, attempt: &Attempt) -> Result<(), AuthError> {
        let mut right = self.knows_admin(attempt);
        for hash in self.admins.hashes_to_check(&attempt.name) {
            if self.matches(hash, &attempt.password) && self.admins.is_hash_of(&attempt.name, hash)
            {
                self.trusted.remember(&attempt.key, &attempt.password, hash);
                right = true;
            }
        }
        self.settle(attempt, right);
        if right { Ok(()) } else { Err(AuthError::Unauthorized) }
    }

    fn matches(&self, hash: &str, password: &str) -> bool {
        let begin = StdInstant::now();
        let right = self.hasher.matches(hash, password);
        if let Some(metrics) = self.metrics.get() {
            metrics.hash.observe(begin.elapsed().as_secs_f64());
        }
        right
    }

    fn settle(&self, attempt: &Attempt, right: bool) {
        let Attempt { who, key, from, .. } = attempt;
        if right {
            self.queue.succeeded(key, *from);
        } else {
            self.queue.failed(key, *from);
            // Not an audit line: a flood of guesses is summarised.
            let (who, name) = (who.name(), &*attempt.name);
            tracing::warn!(%from, name, "failed login of {who}");
        }
        self.count(*who, if right { Outcome::Accepted } else { Outcome::Refused });
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
        self.login_at(user, password, ANYWHERE).await
    }

    /// Addresses without recent failures come first.
    async fn login_from(
        &self,
        user: &str,
        password: &str,
        address: Option<IpAddr>,
    ) -> Result<String, AuthError> {
        self.login_at(user, password, address.unwrap_or(ANYWHERE)).await
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

    use tokio::time::Instant;

    use super::*;
    use crate::queue::PATIENCE;
    use crate::{AuthConfig, HashCost, NewUser, UserError};

    fn open() -> (TempDir, Auth) {
        let dir = tempfile::tempdir().unwrap();
        let config = AuthConfig { hash_cost: HashCost::for_tests(), ..AuthConfig::default() };
        let auth = Auth::open(config, dir.path()).unwrap();
        (dir, auth)
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_cores_are_busy_an_attempt_waits_and_is_then_refused() {
        let (_dir, auth) = open();
        let mut held = Vec::new();
        for _ in 0..crate::open::concurrent_hashes() {
            held.push(auth.0.queue.enter("x", ANYWHERE).await.unwrap());
        }
        let begin = Instant::now();
        assert!(matches!(auth.login("alice", "password").await, Err(AuthError::Busy)));
        assert_eq!(begin.elapsed(), PATIENCE);
        let added = auth.add_user(NewUser::default()).await;
        assert!(matches!(added, Err(UserError::Busy)));
        drop(held);
        assert!(matches!(auth.login("alice", "password").await, Err(AuthError::Unauthorized)));
    }

    /// All cores are busy with the guesses of strangers; a user who has logged in before does not need one.
    #[tokio::test(start_paused = true)]
    async fn a_user_who_logged_in_since_the_start_does_not_wait() {
        let (_dir, auth) = open();
        let alice = NewUser { name: Some("alice".to_owned()), ..NewUser::default() };
        let made = auth.add_user(alice).await.unwrap();
        let password = made.password.expose();
        auth.login("alice", password).await.unwrap();
        let mut held = Vec::new();
        for _ in 0..crate::open::concurrent_hashes() {
            held.push(auth.0.queue.enter("x", ANYWHERE).await.unwrap());
        }
        let begin = Instant::now();
        auth.login("alice", password).await.unwrap();
        let admin = auth.generated_admin().unwrap();
        auth.authenticate_admin(&admin.name, admin.password.expose(), ANYWHERE).await.unwrap();
        assert_eq!(begin.elapsed(), std::time::Duration::ZERO);
        // A password that was changed since is treated as a guess.
        auth.set_password("alice", &poa_core::config::Secret::new("another one"))
            .await
            .unwrap_err();
        drop(held);
        auth.set_password("alice", &poa_core::config::Secret::new("another one")).await.unwrap();
        assert!(matches!(auth.login("alice", password).await, Err(AuthError::Unauthorized)));
        auth.login("alice", "another one").await.unwrap();
        auth.set_active("alice", false).await.unwrap();
        let inactive = auth.login("alice", "another one").await;
        assert!(matches!(inactive, Err(AuthError::Unauthorized)));
    }

    #[test]
    fn names_that_cannot_exist_are_counted_together() {
        assert_eq!(Who::User.key("alice"), "user:alice");
        assert_eq!(Who::Admin.key("alice"), "admin:alice");
        assert_eq!(Who::User.key(&"x".repeat(256)), Who::User.key("a:b"));
    }
}
