use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use poa_core::Timestamp;
use poa_core::telemetry::Telemetry;
use rusqlite::{OptionalExtension as _, Row};

use crate::open::Opened;
use crate::{Letter, OpenError, Summary, Which, keep};

/// Dead letters in an SQLite database. Cloning is cheap: clones share the connection.
///
/// Methods that are not `async` block on disk I/O; call them outside of async threads.
#[derive(Clone, Debug)]
pub struct DeadLetterStore(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) connection: Mutex<Opened>,
    pub(crate) path: PathBuf,
    pub(crate) max_bytes: u64,
    /// The approximate size of the letters; another process can have removed some.
    pub(crate) held: AtomicU64,
    /// Letters that were removed to make room for newer ones.
    pub(crate) dropped: AtomicU64,
}

/// The database cannot execute a request.
#[derive(Debug, thiserror::Error)]
#[error("the database of dead letters failed")]
pub struct StoreError(#[from] rusqlite::Error);

const SUMMARY: &str = "id, receiver, message_id, agent_id, data_type, reason, attempts, received_at, \
    first_attempt, set_aside, length(payload), replay";

impl DeadLetterStore {
    /// Opens the store in this file, and creates it if it is missing. It holds at most `max_bytes`, including the
    /// overhead of the database for each letter.
    ///
    /// # Errors
    /// When the file cannot be used or is not a database of dead letters.
    pub fn open(path: impl AsRef<Path>, max_bytes: u64) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let connection = Opened::open(path)?;
        let held = keep::held(&connection)
            .map_err(|source| OpenError::Database { path: path.to_owned(), source })?;
        let (connection, held) = (Mutex::new(connection), AtomicU64::new(held));
        let (path, dropped) = (path.to_owned(), AtomicU64::new(0));
        Ok(Self(Arc::new(Inner { connection, path, max_bytes, held, dropped })))
    }

    /// Counts in these metrics the letters that were removed to make room for newer ones.
    pub fn observe(&self, telemetry: &Telemetry) {
        const NAME: &str = "poa_dead_letters_dropped";
        const HELP: &str = "Dead letters removed to make room for newer ones";
        let inner = self.0.clone();
        telemetry.include("dead letters", move || {
            let dropped = inner.dropped.load(Ordering::Relaxed);
            format!("# HELP {NAME} {HELP}.\n# TYPE {NAME} counter\n{NAME}_total {dropped}\n")
        });
    }

    /// Returns these letters, the oldest first, without their data.
    ///
    /// # Errors
    /// When the database fails.
    pub fn list(&self, which: &Which) -> Result<Vec<Summary>, StoreError> {
        let (condition, parameter) = which.condition();
        let connection = self.0.connection.lock();
        let sql = format!("SELECT {SUMMARY} FROM dead_letters WHERE {condition} ORDER BY id");
        let mut statement = connection.prepare_cached(&sql)?;
        let rows = statement.query_map([parameter], summary)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Returns the letter with this number and its data.
    ///
    /// # Errors
    /// When the database fails.
    pub fn show(&self, id: i64) -> Result<Option<Letter>, StoreError> {
        let connection = self.0.connection.lock();
        let sql = format!("SELECT {SUMMARY}, format, payload FROM dead_letters WHERE id = ?1");
        let letter = |row: &Row<'_>| {
            let format = if row.get_ref(12)?.as_str()? == MSGPACK { MSGPACK } else { JSON };
            Ok(Letter { summary: summary(row)?, format, payload: row.get(13)? })
        };
        Ok(connection.query_row(&sql, [id], letter).optional()?)
    }

    /// Requests a replay of these letters. Returns their number.
    ///
    /// # Errors
    /// When the database fails.
    pub fn request_replay(&self, which: &Which) -> Result<usize, StoreError> {
        let (condition, parameter) = which.condition();
        let sql = format!("UPDATE dead_letters SET replay = 1 WHERE {condition}");
        Ok(self.0.connection.lock().execute(&sql, [parameter])?)
    }

    /// Removes these letters. Returns their number.
    ///
    /// # Errors
    /// When the database fails.
    pub fn remove(&self, which: &Which) -> Result<usize, StoreError> {
        let (condition, parameter) = which.condition();
        let sql = format!("DELETE FROM dead_letters WHERE {condition}");
        Ok(self.0.connection.lock().execute(&sql, [parameter])?)
    }
}

pub(crate) const JSON: &str = "json";
pub(crate) const MSGPACK: &str = "msgpack";

fn summary(row: &Row<'_>) -> rusqlite::Result<Summary> {
    Ok(Summary {
        id: row.get(0)?,
        receiver: row.get(1)?,
        message_id: row.get(2)?,
        agent_id: row.get(3)?,
        data_type: row.get(4)?,
        reason: row.get(5)?,
        attempts: row.get(6)?,
        received_at: time(row, 7)?,
        first_attempt: time(row, 8)?,
        set_aside: time(row, 9)?,
        bytes: row.get::<_, i64>(10)?.unsigned_abs(),
        replay: row.get(11)?,
    })
}

/// Times are stored as microseconds in SQLite's signed integers.
pub(crate) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    Ok(Timestamp::from_micros(row.get::<_, i64>(column)?.unsigned_abs()))
}
