//! Management of users, for the command line and the endpoints.

use std::sync::Arc;

use poa_core::config::Secret;
use poa_core::{AgentId, BoxError, Timestamp};

use crate::auth::{Auth, Inner, Interrupted};
use crate::backing::BackingError;
use crate::name::{InvalidName, check_name, generate_name, generate_password};
use crate::password::check_length;
use crate::queue::{Crowded, Permit};
use crate::store::Stored;
use crate::token::{second_of, signed};

/// A user to be added. Absent fields are generated.
#[derive(Clone, Debug, Default)]
pub struct NewUser {
    /// The name: 1 to 255 bytes, not only blanks, no colon, no control characters.
    pub name: Option<String>,
    /// The password: at least 8 characters.
    pub password: Option<Secret>,
    /// The only agent the user may send for; any agent when absent.
    pub agent: Option<AgentId>,
}

/// The credentials of a new user.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Credentials {
    /// The name.
    pub user: String,
    /// The password. It is not kept anywhere else: only its hash is.
    pub password: Secret,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct User {
    /// The name.
    pub name: Arc<str>,
    /// The time at which the user was added.
    pub created_at: Timestamp,
    /// False for a user who was deactivated.
    pub active: bool,
    /// The only agent the user may send for; any agent when absent.
    pub agent: Option<AgentId>,
}

/// The reason why nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UserError {
    /// A user of this name exists.
    #[error("this user name is taken; choose another")]
    NameTaken,
    /// There is no such user.
    #[error("no such user")]
    NotFound,
    /// The name violates a rule.
    #[error("the name {0}")]
    InvalidName(#[from] InvalidName),
    /// The password is too short.
    #[error("the password must have at least 8 characters")]
    PasswordTooShort,
    /// The token is not valid, expired, or banned already.
    #[error("this is not a valid token")]
    InvalidToken,
    /// Too many passwords are being hashed; try again later.
    #[error("too many logins at once; try again later")]
    Busy,
    /// A cluster keeps no list of tokens.
    #[error("a cluster keeps no list of tokens; revoke all tokens of a user instead")]
    NotListed,
    /// The database failed.
    #[error("the database of users is not available")]
    Unavailable(#[source] BoxError),
}

impl From<BackingError> for UserError {
    fn from(error: BackingError) -> Self {
        match error {
            BackingError::NotListed => Self::NotListed,
            error => Self::Unavailable(error.into()),
        }
    }
}

impl From<Interrupted> for UserError {
    fn from(interrupted: Interrupted) -> Self {
        Self::Unavailable(interrupted.0)
    }
}

impl From<Stored> for User {
    fn from(stored: Stored) -> Self {
        let Stored { name, created_at, member, .. } = stored;
        Self { name, created_at, active: member.active, agent: member.agent }
    }
}

/// Every change takes effect immediately on the next [`verify`](poa_core::auth::Authenticator::verify) of this process, and within about a second in
/// others that [`watch`](Auth::watch) the same directory or [`share`](Auth::share) the same store. A call that is dropped may or may not take effect.
impl Auth {
    /// Adds a user.
    ///
    /// # Errors
    /// When name or password violate a rule, the name is taken, or the database fails.
    pub async fn add_user(&self, user: NewUser) -> Result<Credentials, UserError> {
        if let Some(name) = &user.name {
            check_name(name)?;
        }
        if user.password.as_ref().is_some_and(|given| check_length(given.expose()).is_err()) {
            return Err(UserError::PasswordTooShort);
        }
        let permit = self.leave_to_hash().await?;
        self.hashing(permit, move |inner| inner.add_user(user)).await?
    }

    /// Sets another password for a user. Earlier tokens are no longer valid.
    ///
    /// # Errors
    /// When the password is too short, there is no such user, or the database fails.
    pub async fn set_password(&self, name: &str, password: &Secret) -> Result<(), UserError> {
        if check_length(password.expose()).is_err() {
            return Err(UserError::PasswordTooShort);
        }
        let permit = self.leave_to_hash().await?;
        let (name, password) = (name.to_owned(), password.clone());
        self.hashing(permit, move |inner| inner.set_password(&name, &password)).await?
    }

    async fn leave_to_hash(&self) -> Result<Permit, UserError> {
        self.0.queue.enter_first().await.map_err(|Crowded| UserError::Busy)
    }

    /// All users, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn users(&self) -> Result<Vec<User>, UserError> {
        let stored = self.blocking(|inner| inner.store().and_then(|store| store.users())).await??;
        Ok(stored.into_iter().map(User::from).collect())
    }

    /// Activates or deactivates a user. The tokens of an inactive user are valid again when it is activated again.
    ///
    /// # Errors
    /// When there is no such user, or the database fails.
    pub async fn set_active(&self, name: &str, active: bool) -> Result<(), UserError> {
        let name = name.to_owned();
        self.blocking(move |inner| inner.set_active(&name, active)).await?
    }

    /// Deletes a user. No token issued so far will ever be valid for a new user of the same name.
    ///
    /// # Errors
    /// When there is no such user, or the database fails.
    pub async fn delete_user(&self, name: &str) -> Result<(), UserError> {
        let name = name.to_owned();
        self.blocking(move |inner| inner.delete_user(&name)).await?
    }

    /// Bans a token for the rest of its lifetime, and returns its user.
    ///
    /// # Errors
    /// When it is not valid anyway, or the database fails.
    pub async fn ban_token(&self, token: &str) -> Result<Arc<str>, UserError> {
        let token = token.to_owned();
        self.blocking(move |inner| inner.ban_token(&token)).await?
    }
}

impl Inner {
    fn add_user(&self, user: NewUser) -> Result<Credentials, UserError> {
        let password = user.password.unwrap_or_else(|| Secret::new(generate_password()));
        let hash = self
            .hasher
            .hash(password.expose())
            .map_err(|error| UserError::Unavailable(error.into()))?;
        let chosen = user.name.is_some();
        let mut name = user.name.unwrap_or_else(generate_name);
        while !self.insert(&name, &hash, user.agent.clone())? {
            if chosen {
                return Err(UserError::NameTaken);
            }
            name = generate_name();
        }
        Ok(Credentials { user: name, password })
    }

    /// False if the name is taken.
    fn insert(&self, name: &str, hash: &str, agent: Option<AgentId>) -> Result<bool, UserError> {
        let mut store = self.store()?;
        let Some(member) = store.add(name, hash, agent, Timestamp::now())? else {
            return Ok(false);
        };
        self.directory.grant(|members| {
            members.users.insert(name.into(), member);
        });
        Ok(true)
    }

    fn set_password(&self, name: &str, password: &Secret) -> Result<(), UserError> {
        let hash = self.hasher.hash(password.expose());
        let hash = hash.map_err(|error| UserError::Unavailable(error.into()))?;
        // Tokens of this second were issued for the old password.
        let since = second_of(signed(Timestamp::now())) + 1;
        let store = self.store()?;
        if !store.set_password(name, &hash, since)? {
            return Err(UserError::NotFound);
        }
        let members = store.members()?;
        self.directory.revoke(|mirror| *mirror = members);
        Ok(())
    }

    fn set_active(&self, name: &str, active: bool) -> Result<(), UserError> {
        let store = self.store()?;
        if !store.set_active(name, active)? {
            return Err(UserError::NotFound);
        }
        let change = |members: &mut crate::directory::Members| {
            if let Some(user) = members.users.get_mut(name) {
                user.active = active;
            }
        };
        if active {
            self.directory.grant(change)
        } else {
            self.directory.revoke(change)
        }
        Ok(())
    }

    fn delete_user(&self, name: &str) -> Result<(), UserError> {
        let mut store = self.store()?;
        if !store.delete(name, Timestamp::now())? {
            return Err(UserError::NotFound);
        }
        self.directory.revoke(|members| {
            members.users.remove(name);
        });
        Ok(())
    }

    fn ban_token(&self, token: &str) -> Result<Arc<str>, UserError> {
        let store = self.store()?;
        let verdict = self.verdict(token, Timestamp::now()).map_err(|_| UserError::InvalidToken)?;
        let facts = &verdict.facts;
        store.ban(&facts.fingerprint, facts.expires_at)?;
        self.directory.revoke(|members| {
            members.banned.insert(facts.fingerprint.clone());
        });
        Ok(verdict.principal.user.clone())
    }
}
