//! The place of the users: a database of this machine, or a store that all nodes share.

use poa_core::engine::StoreError;
use poa_core::{AgentId, Timestamp};

use crate::directory::{Member, Members};
use crate::issued::Token;
use crate::shared::SharedUsers;
use crate::store::{Store, Stored};

/// The place of the users. Every operation blocks.
pub(crate) enum Backing {
    /// `None` as long as the shared store is not connected.
    None,
    Database(Store),
    Shared(SharedUsers),
}

/// The reason why the users cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackingError {
    #[error(transparent)]
    Database(#[from] rusqlite::Error),
    #[error(transparent)]
    Shared(#[from] StoreError),
    #[error("the users are not loaded yet")]
    NotLoaded,
    #[error("a cluster keeps no list of tokens; revoke all tokens of a user instead")]
    NotListed,
}

type Result<T> = std::result::Result<T, BackingError>;

impl Backing {
    /// The content, if another process has changed the database since the last call. A shared store reports changes by itself.
    pub(crate) fn changed_elsewhere(&mut self) -> Result<Option<Members>> {
        match self {
            Self::Database(store) => Ok(store.changed_elsewhere()?),
            Self::Shared(_) | Self::None => Ok(None),
        }
    }

    pub(crate) fn members(&self) -> Result<Members> {
        match self {
            Self::Database(store) => Ok(store.members()?),
            Self::Shared(users) => Ok(users.members()),
            Self::None => Err(BackingError::NotLoaded),
        }
    }

    pub(crate) fn users(&self) -> Result<Vec<Stored>> {
        match self {
            Self::Database(store) => Ok(store.users()?),
            Self::Shared(users) => Ok(users.users()),
            Self::None => Err(BackingError::NotLoaded),
        }
    }

    pub(crate) fn user(&self, name: &str) -> Result<Option<Stored>> {
        match self {
            Self::Database(store) => Ok(store.user(name)?),
            Self::Shared(users) => Ok(users.user(name)),
            Self::None => Err(BackingError::NotLoaded),
        }
    }

    pub(crate) fn add(
        &mut self,
        name: &str,
        hash: &str,
        agent: Option<AgentId>,
        now: Timestamp,
    ) -> Result<Option<Member>> {
        match self {
            Self::Database(store) => Ok(store.add(name, hash, agent, now)?),
            Self::Shared(users) => Ok(users.add(name, hash, agent, now)?),
            Self::None => Err(BackingError::NotLoaded),
        }
    }

    pub(crate) fn set_password(&self, name: &str, hash: &str, tokens_since: i64) -> Result<bool> {
        match self {
            Self::Database(store) => Ok(store.set_password(name, hash, tokens_since)?),
            Self::Shared(users) => Ok(users.set_password(name, hash, tokens_since)?),
            Self::None => Err(BackingError::NotLoaded),
        }
    }

    pub(crate) fn set_active(&self, name: &str, active: bool) -> Result<bool> {
        match self {
            Self::Database(store) => Ok(store.set_active(name, active)?),
            Self::Shared(users) => Ok(users.set_active(name, active)?),
            Self::None => Err(BackingError::NotLoaded),
        }
    }

    pub(crate) fn delete(&mut self, name: &str, now: Timestamp) -> Result<bool> {
        match self {
            Self::Database(store) => Ok(store.delete(name, now)?),
            Self::Shared(users) => Ok(users.delete(name, now)?),
            Self::None => Err(BackingError::NotLoaded),
        }
    }

    pub(crate) fn ban(&self, fingerprint: &str, expires_at: i64) -> Result<()> {
        match self {
            Self::Database(store) => Ok(store.ban(fingerprint, expires_at)?),
            Self::Shared(users) => Ok(users.ban(fingerprint, expires_at)?),
            Self::None => Err(BackingError::NotLoaded),
        }
    }

    /// Writes tokens that were issued. A cluster keeps no list of them.
    pub(crate) fn add_tokens(&mut self, tokens: &[Token], now: Timestamp) -> Result<()> {
        match self {
            Self::Database(store) => Ok(store.add_tokens(tokens, now)?),
            Self::Shared(_) | Self::None => Ok(()),
        }
    }

    pub(crate) fn tokens(&self, user: Option<&str>) -> Result<Vec<Token>> {
        match self {
            Self::Database(store) => Ok(store.tokens(user)?),
            Self::Shared(_) => Err(BackingError::NotListed),
            Self::None => Err(BackingError::NotLoaded),
        }
    }

    pub(crate) fn token(&self, id: &str) -> Result<Option<Token>> {
        match self {
            Self::Database(store) => Ok(store.token(id)?),
            Self::Shared(_) => Err(BackingError::NotListed),
            Self::None => Err(BackingError::NotLoaded),
        }
    }

    pub(crate) fn set_tokens_since(&self, name: &str, since: i64) -> Result<bool> {
        match self {
            Self::Database(store) => Ok(store.set_tokens_since(name, since)?),
            Self::Shared(users) => Ok(users.set_tokens_since(name, since)?),
            Self::None => Err(BackingError::NotLoaded),
        }
    }

    pub(crate) fn purge(&self, now: Timestamp) -> Result<usize> {
        match self {
            Self::Database(store) => Ok(store.purge(now)?),
            Self::Shared(users) => Ok(users.purge(now)?),
            Self::None => Err(BackingError::NotLoaded),
        }
    }
}
