//! The database of users and tokens.

mod tokens;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use poa_core::{AgentId, BoxError, Timestamp, files};
use rusqlite::{Connection, OptionalExtension as _, Row, TransactionBehavior, params};

use crate::directory::{Member, Members};
use crate::token::{second_of, signed};

/// The migrations from an empty database to the newest version, which is their number.
const MIGRATIONS: &[&str] = &[include_str!("migrations/1.sql"), include_str!("migrations/2.sql")];
/// How long to wait for another process that writes.
const BUSY: Duration = Duration::from_secs(5);
/// How long the names of deleted users are remembered, in seconds. One second would suffice if clocks never stepped back.
pub(crate) const REMEMBERED: i64 = 24 * 3600;

/// The reason why the database could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("it has version {found}, and this program knows versions up to {known}")]
    Newer { found: i64, known: i64 },
    #[error("{0}")]
    Damaged(String),
    #[error(transparent)]
    File(#[from] std::io::Error),
    #[error(transparent)]
    Database(#[from] rusqlite::Error),
}

/// A user in the form of the database.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) name: Arc<str>,
    pub(crate) password_hash: String,
    pub(crate) created_at: Timestamp,
    pub(crate) member: Member,
}

/// One connection. Every operation blocks.
pub(crate) struct Store {
    connection: Connection,
    seen: i64,
}

impl Store {
    /// Opens or creates the database, migrates it to the newest version, and deletes what has expired.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        create_private(path)?;
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        check(&connection)?;
        migrate(&mut connection)?;
        let store = Self { seen: data_version(&connection)?, connection };
        store.purge(Timestamp::now())?;
        Ok(store)
    }

    /// The content, if another connection has changed the database since the last call.
    pub(crate) fn changed_elsewhere(&mut self) -> rusqlite::Result<Option<Members>> {
        // Read first: a change in between is then found again instead of being missed.
        let version = data_version(&self.connection)?;
        if version == self.seen {
            return Ok(None);
        }
        let members = self.members()?;
        self.seen = version;
        Ok(Some(members))
    }

    pub(crate) fn members(&self) -> rusqlite::Result<Members> {
        let users = self.users()?.into_iter().map(|user| (user.name, user.member)).collect();
        let mut banned = self.connection.prepare("SELECT fingerprint FROM banned_tokens")?;
        let banned = banned.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        Ok(Members { users, banned })
    }

    /// The banned tokens, and their expiry.
    pub(crate) fn bans(&self) -> rusqlite::Result<Vec<(String, i64)>> {
        let mut bans =
            self.connection.prepare("SELECT fingerprint, expires_at FROM banned_tokens")?;
        bans.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    }

    /// All users, by name.
    pub(crate) fn users(&self) -> rusqlite::Result<Vec<Stored>> {
        let mut users = self.connection.prepare(&select_users("ORDER BY name"))?;
        users.query_map([], stored)?.collect()
    }

    pub(crate) fn user(&self, name: &str) -> rusqlite::Result<Option<Stored>> {
        let mut user = self.connection.prepare_cached(&select_users("WHERE name = ?1"))?;
        user.query_row([name], stored).optional()
    }

    /// Adds a user, and returns its rights; `None` if the name is taken.
    pub(crate) fn add(
        &mut self,
        name: &str,
        password_hash: &str,
        agent: Option<AgentId>,
        now: Timestamp,
    ) -> rusqlite::Result<Option<Member>> {
        let change = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let last_iat: Option<i64> = change
            .query_row("SELECT last_iat FROM deleted_users WHERE name = ?1", [name], |row| {
                row.get(0)
            })
            .optional()?;
        let second = second_of(signed(now));
        let tokens_since = last_iat.map_or(second, |last| second.max(last + 1));
        let added = change.execute(
            "INSERT INTO users (name, password_hash, agent_id, active, created_at, tokens_since)
             VALUES (?1, ?2, ?3, 1, ?4, ?5) ON CONFLICT DO NOTHING",
            params![
                name,
                password_hash,
                agent.as_ref().map(AgentId::as_str),
                signed(now),
                tokens_since
            ],
        )?;
        change.commit()?;
        Ok((added == 1).then_some(Member { active: true, tokens_since, agent }))
    }

    /// Sets another password for a user, and the first second whose tokens are valid from now on. False if there is no such
    /// user.
    pub(crate) fn set_password(
        &self,
        name: &str,
        password_hash: &str,
        tokens_since: i64,
    ) -> rusqlite::Result<bool> {
        let changed = "UPDATE users SET password_hash = ?2, tokens_since = max(tokens_since, ?3) WHERE name = ?1";
        Ok(self.connection.execute(changed, params![name, password_hash, tokens_since])? == 1)
    }

    /// False if there is no such user.
    pub(crate) fn set_active(&self, name: &str, active: bool) -> rusqlite::Result<bool> {
        let changed = "UPDATE users SET active = ?2 WHERE name = ?1";
        Ok(self.connection.execute(changed, params![name, active])? == 1)
    }

    /// Deletes a user, and remembers which tokens it may have had. False if there is no such user.
    pub(crate) fn delete(&mut self, name: &str, now: Timestamp) -> rusqlite::Result<bool> {
        let change = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        change.execute(
            "INSERT OR REPLACE INTO deleted_users (name, last_iat)
             SELECT name, max(tokens_since, ?2) FROM users WHERE name = ?1",
            params![name, second_of(signed(now))],
        )?;
        let deleted = change.execute("DELETE FROM users WHERE name = ?1", [name])?;
        change.commit()?;
        Ok(deleted == 1)
    }

    pub(crate) fn ban(&self, fingerprint: &str, expires_at: i64) -> rusqlite::Result<()> {
        self.connection.execute(
            "INSERT OR REPLACE INTO banned_tokens (fingerprint, expires_at) VALUES (?1, ?2)",
            params![fingerprint, expires_at],
        )?;
        Ok(())
    }

    /// Deletes expired bans, and users deleted long ago. Returns the number of bans.
    pub(crate) fn purge(&self, now: Timestamp) -> rusqlite::Result<usize> {
        let now = signed(now);
        let long_ago = second_of(now) - REMEMBERED;
        self.connection.execute("DELETE FROM deleted_users WHERE last_iat < ?1", [long_ago])?;
        self.connection.execute("DELETE FROM tokens WHERE expires_at <= ?1", [now])?;
        self.connection.execute("DELETE FROM banned_tokens WHERE expires_at <= ?1", [now])
    }
}

/// SQLite gives the files beside the database the mode of the database itself.
fn create_private(path: &Path) -> std::io::Result<()> {
    files::private().create(true).append(true).open(path)?;
    files::make_private(path)
}

/// Checks for damage now, where it can be reported with its cure, and not at a later login.
fn check(connection: &Connection) -> Result<(), StoreError> {
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(StoreError::Damaged(found)) }
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    // Checked without a transaction first: opening a database is not a change that other processes have to see.
    if missing(connection)?.is_empty() {
        return Ok(());
    }
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for step in missing(&change)? {
        change.execute_batch(step)?;
    }
    change.pragma_update(None, "user_version", MIGRATIONS.len() as i64)?;
    Ok(change.commit()?)
}

/// The migrations that this database lacks.
fn missing(connection: &Connection) -> Result<&'static [&'static str], StoreError> {
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let made = usize::try_from(found).unwrap_or(usize::MAX);
    let known = MIGRATIONS.len() as i64;
    MIGRATIONS.get(made..).ok_or(StoreError::Newer { found, known })
}

fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA data_version", [], |row| row.get(0))
}

fn select_users(which: &str) -> String {
    format!(
        "SELECT name, password_hash, agent_id, active, created_at, tokens_since FROM users {which}"
    )
}

fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    let agent: Option<String> = row.get(2)?;
    let agent =
        agent.map(AgentId::new).transpose().map_err(|invalid| unreadable(2, invalid.into()))?;
    let created_at: i64 = row.get(4)?;
    Ok(Stored {
        name: row.get(0)?,
        password_hash: row.get(1)?,
        created_at: Timestamp::from_micros(created_at.unsigned_abs()),
        member: Member { active: row.get(3)?, tokens_since: row.get(5)?, agent },
    })
}

fn unreadable(column: usize, cause: BoxError) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, cause)
}
