//! The tokens that were issued, in the database.

use std::collections::HashSet;

use poa_core::Timestamp;
use rusqlite::{OptionalExtension as _, Row, TransactionBehavior, params};

use super::Store;
use crate::issued::{LISTED, Token};
use crate::token::signed;

impl Store {
    /// Writes tokens that were issued, and forgets those that have expired, and of each of their users all but the newest.
    pub(crate) fn add_tokens(&mut self, tokens: &[Token], now: Timestamp) -> rusqlite::Result<()> {
        if tokens.is_empty() {
            return Ok(());
        }
        let change = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut add = change.prepare_cached(
                "INSERT INTO tokens (id, user_name, issued_at, expires_at, address) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO NOTHING",
            )?;
            for Token { id, user, issued_at, expires_at, address } in tokens {
                let address = address.map(|address| address.to_string());
                add.execute(params![id, user, signed(*issued_at), signed(*expires_at), address])?;
            }
            let mut trim = change.prepare_cached(
                "DELETE FROM tokens WHERE id IN
                 (SELECT id FROM tokens WHERE user_name = ?1 ORDER BY issued_at DESC LIMIT -1 OFFSET ?2)",
            )?;
            let users: HashSet<_> = tokens.iter().map(|token| &token.user).collect();
            for user in users {
                trim.execute(params![user, LISTED as i64])?;
            }
        }
        change.execute("DELETE FROM tokens WHERE expires_at <= ?1", [signed(now)])?;
        change.commit()
    }

    /// The tokens of a user, or of all, by user and time.
    pub(crate) fn tokens(&self, user: Option<&str>) -> rusqlite::Result<Vec<Token>> {
        let mut tokens = self.connection.prepare_cached(
            "SELECT id, user_name, issued_at, expires_at, address FROM tokens
             WHERE ?1 IS NULL OR user_name = ?1 ORDER BY user_name, issued_at, id",
        )?;
        tokens.query_map([user], token)?.collect()
    }

    pub(crate) fn token(&self, id: &str) -> rusqlite::Result<Option<Token>> {
        let mut found = self.connection.prepare_cached(
            "SELECT id, user_name, issued_at, expires_at, address FROM tokens WHERE id = ?1",
        )?;
        found.query_row([id], token).optional()
    }

    /// Sets the first second whose tokens count from now on. False when there is no such user.
    pub(crate) fn set_tokens_since(&self, name: &str, since: i64) -> rusqlite::Result<bool> {
        let changed = "UPDATE users SET tokens_since = max(tokens_since, ?2) WHERE name = ?1";
        Ok(self.connection.execute(changed, params![name, since])? == 1)
    }
}

fn token(row: &Row<'_>) -> rusqlite::Result<Token> {
    let time = |micros: i64| Timestamp::from_micros(micros.unsigned_abs());
    let address: Option<String> = row.get(4)?;
    Ok(Token {
        id: row.get(0)?,
        user: row.get(1)?,
        issued_at: time(row.get(2)?),
        expires_at: time(row.get(3)?),
        address: address.and_then(|address| address.parse().ok()),
    })
}
