//! Tokens as they are issued: noted in memory, written together, listed and revoked one by one.

use std::net::IpAddr;
use std::sync::Arc;

use poa_core::Timestamp;

use crate::auth::{Auth, Inner};
use crate::backing::{Backing, BackingError};
use crate::token::{Facts, second_of, signed};
use crate::users::UserError;

/// How many tokens wait to be written at most. They are written once a second by [`Auth::watch`].
const WAITING: usize = 1024;
/// How many tokens of one user are listed: the newest.
pub(crate) const LISTED: usize = 100;

/// A token that was given to a user and is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Token {
    /// Names the token and does not give it away: the first 43 characters of its signature.
    pub id: String,
    /// The user.
    pub user: Arc<str>,
    /// When the user logged in.
    pub issued_at: Timestamp,
    /// When the token expires.
    pub expires_at: Timestamp,
    /// The address that the login came from, or its /64 network with IPv6, if that is known.
    pub address: Option<IpAddr>,
}

impl Token {
    pub(crate) fn new(facts: &Facts, address: IpAddr) -> Self {
        let time = |micros: i64| Timestamp::from_micros(micros.unsigned_abs());
        Self {
            id: facts.fingerprint.to_string(),
            user: (*facts.user).into(),
            issued_at: time(facts.issued_at),
            expires_at: time(facts.expires_at),
            address: Some(address).filter(|address| !address.is_unspecified()),
        }
    }
}

impl Auth {
    /// The valid tokens of a user, or of all users: of each the newest 100, by user and time. A token that was issued in the second before a
    /// crash may be missing, and so are tokens that other programs signed with the same key.
    ///
    /// # Errors
    /// When there is no such user, the database fails, or the users are those of a cluster, which keeps no list.
    pub async fn tokens(&self, user: Option<&str>) -> Result<Vec<Token>, UserError> {
        let user = user.map(str::to_owned);
        self.blocking(move |inner| inner.listed(user.as_deref())).await?
    }

    /// Revokes the listed token with this id for the rest of its life, and returns its user.
    ///
    /// # Errors
    /// When no valid token has this id, or as [`tokens`](Self::tokens).
    pub async fn revoke_token(&self, id: &str) -> Result<Arc<str>, UserError> {
        let id = id.to_owned();
        self.blocking(move |inner| inner.revoke_token(&id)).await?
    }

    /// Revokes every token of a user that was issued so far, also those that are not listed. The user can log in again.
    ///
    /// # Errors
    /// When there is no such user, or the database fails.
    pub async fn revoke_tokens(&self, user: &str) -> Result<(), UserError> {
        let user = user.to_owned();
        self.blocking(move |inner| inner.revoke_tokens(&user)).await?
    }
}

impl Inner {
    /// Notes a token that is about to be given away.
    pub(crate) fn note(&self, token: Token) -> Result<(), BackingError> {
        let full = {
            let mut waiting = self.issued.lock();
            waiting.push(token);
            waiting.len() >= WAITING
        };
        if full { self.write_issued(&mut *self.store()?) } else { Ok(()) }
    }

    /// Writes the tokens that wait. What cannot be written waits on, up to a limit; the oldest are then not listed.
    pub(crate) fn write_issued(&self, store: &mut Backing) -> Result<(), BackingError> {
        let waiting = std::mem::take(&mut *self.issued.lock());
        let Err(error) = store.add_tokens(&waiting, Timestamp::now()) else { return Ok(()) };
        let mut issued = self.issued.lock();
        let newer = std::mem::replace(&mut *issued, waiting);
        issued.extend(newer);
        let excess = issued.len().saturating_sub(WAITING);
        issued.drain(..excess);
        Err(error)
    }

    fn listed(&self, user: Option<&str>) -> Result<Vec<Token>, UserError> {
        let mut store = self.store()?;
        if let Some(name) = user
            && store.user(name)?.is_none()
        {
            return Err(UserError::NotFound);
        }
        self.write_issued(&mut store)?;
        let mut tokens = store.tokens(user)?;
        tokens.retain(|token| self.is_valid(token));
        Ok(tokens)
    }

    fn is_valid(&self, token: &Token) -> bool {
        let seconds = second_of(signed(token.issued_at));
        token.expires_at > Timestamp::now() && self.directory.has(&token.user, seconds, &token.id)
    }

    fn revoke_token(&self, id: &str) -> Result<Arc<str>, UserError> {
        let mut store = self.store()?;
        self.write_issued(&mut store)?;
        let found = store.token(id)?.filter(|token| self.is_valid(token));
        let token = found.ok_or(UserError::InvalidToken)?;
        store.ban(&token.id, signed(token.expires_at))?;
        self.directory.revoke(|members| {
            members.banned.insert(token.id.into());
        });
        Ok(token.user)
    }

    fn revoke_tokens(&self, user: &str) -> Result<(), UserError> {
        // Tokens of this second are among those that are revoked.
        let since = second_of(signed(Timestamp::now())) + 1;
        let store = self.store()?;
        if !store.set_tokens_since(user, since)? {
            return Err(UserError::NotFound);
        }
        let members = store.members()?;
        self.directory.revoke(|mirror| *mirror = members);
        Ok(())
    }
}
