//! The tables, and the migration of older ones.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use crate::error::StoreError;

/// Marks the file as ours: "poaM".
const APPLICATION_ID: i64 = 0x706f_614d;

/// Each migrates the schema by one version; `user_version` counts the applied ones. Never change one that was published.
///
/// `hashrate` and `gas_price` deliberately have no type: any type with numeric affinity would convert digits beyond 64 bits
/// to a double.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE eth_stats (
        message_id     TEXT NOT NULL UNIQUE,
        date           TEXT NOT NULL,
        agent_id       TEXT NOT NULL,
        active         INTEGER,
        mining         INTEGER,
        hashrate,
        peers          INTEGER,
        gas_price,
        current_block  TEXT,
        highest_block  TEXT,
        starting_block TEXT
    );
    CREATE TABLE system_stats (
        message_id   TEXT NOT NULL UNIQUE,
        date         TEXT NOT NULL,
        agent_id     TEXT NOT NULL,
        cpu_load     REAL,
        disk_usage   REAL,
        memory_usage REAL
    );
    CREATE TABLE metrics (
        message_id TEXT NOT NULL UNIQUE,
        date       TEXT NOT NULL,
        agent_id   TEXT NOT NULL,
        data_type  TEXT NOT NULL,
        type       TEXT,
        body       TEXT NOT NULL
    );
    CREATE TABLE agent_activity (
        agent_id TEXT NOT NULL PRIMARY KEY,
        active   INTEGER NOT NULL,
        since    TEXT NOT NULL
    );
"];

/// An index for common queries.
///
/// Not part of the schema that `user_version` counts: a file without it works, and older versions can use a file that has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Index {
    name: &'static str,
    on: &'static str,
}

impl Index {
    /// The table and columns it covers.
    pub(crate) fn on(self) -> &'static str {
        self.on
    }

    /// The statement that creates it.
    pub(crate) fn statement(self) -> String {
        format!("CREATE INDEX IF NOT EXISTS {} ON {};", self.name, self.on)
    }
}

/// By time, and by agent and time.
const INDEXES: [Index; 6] = [
    Index { name: "poa_eth_stats_date", on: "eth_stats (date)" },
    Index { name: "poa_system_stats_date", on: "system_stats (date)" },
    Index { name: "poa_metrics_date", on: "metrics (date)" },
    Index { name: "poa_eth_stats_agent", on: "eth_stats (agent_id, date)" },
    Index { name: "poa_system_stats_agent", on: "system_stats (agent_id, date)" },
    Index { name: "poa_metrics_agent", on: "metrics (agent_id, date)" },
];

/// The first index that the database lacks.
pub(crate) fn missing_index(connection: &Connection) -> rusqlite::Result<Option<Index>> {
    let mut known = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'index' AND name = ?)",
    )?;
    for index in INDEXES {
        if !known.query_row([index.name], |row| row.get::<_, bool>(0))? {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

/// Refuses a database that belongs to another application or is newer, before anything in it is changed.
pub(super) fn refuse_unknown(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    version(connection, path).map(drop)
}

/// Applies the missing migrations. Safe when several programs do so at once: one migrates, the others wait and find it done.
pub(super) fn apply(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    if version(connection, path)? == MIGRATIONS.len() {
        return Ok(());
    }
    let failed = |source| StoreError::new(path, source);
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let applied = version(&transaction, path)?;
    if applied == 0 {
        refuse_taken_names(&transaction, path)?;
    }
    for migration in MIGRATIONS.iter().skip(applied) {
        transaction.execute_batch(migration).map_err(failed)?;
    }
    if applied == 0 {
        // Creating them later, with existing rows, takes time; see `tidy`.
        let indexes: String = INDEXES.iter().map(|index| index.statement()).collect();
        transaction.execute_batch(&indexes).map_err(failed)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
    transaction.pragma_update(None, "user_version", MIGRATIONS.len() as i64).map_err(failed)?;
    transaction.commit().map_err(failed)
}

/// The number of applied migrations.
fn version(connection: &Connection, path: &Path) -> Result<usize, StoreError> {
    let pragma = |name| {
        connection
            .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
            .map_err(|source| StoreError::new(path, source))
    };
    // In this order: both are set at once, so a database with our version has our mark when that is read later.
    let found = pragma("user_version")?;
    let application = pragma("application_id")?;
    let known = MIGRATIONS.len() as i64;
    let path = || path.display().to_string();
    match (application, found) {
        (0, 0) => Ok(0),
        (APPLICATION_ID, 0..) if found <= known => Ok(usize::try_from(found).unwrap_or(0)),
        (APPLICATION_ID, _) => Err(StoreError::Newer { path: path(), found, known }),
        _ => Err(StoreError::Foreign(path())),
    }
}

/// A database without a mark may still contain the tables of another application.
fn refuse_taken_names(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let taken = "SELECT EXISTS (SELECT 1 FROM sqlite_schema
        WHERE name IN ('eth_stats', 'system_stats', 'metrics', 'agent_activity'))";
    let taken: bool = connection
        .query_row(taken, [], |row| row.get(0))
        .map_err(|source| StoreError::new(path, source))?;
    if taken { Err(StoreError::Foreign(path.display().to_string())) } else { Ok(()) }
}
