use std::collections::BTreeMap;
use std::fmt;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Changes, Durability, Store, StoreError, Unconfirmed};
use crate::event::Event;
use crate::model::{Model, Wiring};

/// The version of the tables.
const SCHEMA: i64 = 1;
/// How long to wait for another program that has the file locked.
const PATIENCE: Duration = Duration::from_secs(5);

const TABLES: &str = "
    CREATE TABLE cen (id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE container (id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE cin (id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE counter (id TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE event (sequence INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL);
";

/// Keeps everything in one SQLite file; each commit is one transaction.
pub struct SqliteStore {
    connection: Connection,
    file: String,
}

impl SqliteStore {
    /// Opens the file, and makes it, readable by its owner only, if it is missing. Blocks.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let file = path.display().to_string();
        let mut options = OpenOptions::new();
        let made = options.create(true).truncate(false).write(true).mode(0o600).open(path);
        made.map_err(|error| StoreError::Database {
            file: file.clone(),
            source: rusqlite::Error::ToSqlConversionFailure(error.into()),
        })?;
        let prepared = Connection::open(path).and_then(|connection| {
            connection.busy_timeout(PATIENCE)?;
            connection.pragma_update(None, "journal_mode", "wal")?;
            Ok(connection)
        });
        let failed = |source| StoreError::Database { file: file.clone(), source };
        let mut connection = prepared.map_err(failed)?;
        migrate(&mut connection, &file)?;
        Ok(Self { connection, file })
    }

    fn failed(&self) -> impl Fn(rusqlite::Error) -> StoreError + use<> {
        let file = self.file.clone();
        move |source| StoreError::Database { file: file.clone(), source }
    }

    fn records<K, V>(&self, table: &str) -> Result<BTreeMap<K, V>, StoreError>
    where
        K: TryFrom<String, Error = crate::Error> + Ord,
        V: DeserializeOwned,
    {
        let failed = self.failed();
        let query = format!("SELECT id, body FROM {table}");
        let mut statement = self.connection.prepare(&query).map_err(&failed)?;
        let rows =
            statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)));
        let mut records = BTreeMap::new();
        for row in rows.map_err(&failed)? {
            let (id, body) = row.map_err(&failed)?;
            let damaged = |reason: String| StoreError::Damaged {
                file: self.file.clone(),
                what: format!("{table} {id}"),
                reason,
            };
            let value = serde_json::from_str(&body).map_err(|error| damaged(error.to_string()))?;
            let key = K::try_from(id.clone()).map_err(|error| damaged(error.to_string()))?;
            records.insert(key, value);
        }
        Ok(records)
    }
}

fn migrate(connection: &mut Connection, file: &str) -> Result<(), StoreError> {
    let failed = |source| StoreError::Database { file: file.to_owned(), source };
    let change = connection.transaction().map_err(failed)?;
    let found: i64 =
        change.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    if found > SCHEMA {
        return Err(StoreError::Newer { file: file.to_owned(), found, known: SCHEMA });
    }
    if found == 0 {
        change.execute_batch(TABLES).map_err(failed)?;
        change.pragma_update(None, "user_version", SCHEMA).map_err(failed)?;
    }
    change.commit().map_err(failed)
}

impl Store for SqliteStore {
    fn load(&mut self, wiring: Wiring) -> Result<Model, StoreError> {
        let mut model = Model::new(wiring);
        model.cens = self.records("cen")?;
        model.containers = self.records("container")?;
        model.cins = self.records("cin")?;
        let query = "SELECT value FROM counter WHERE id = 'next_ip_b'";
        let next = self.connection.query_row(query, [], |row| row.get(0)).optional();
        if let Some(next) = next.map_err(self.failed())? {
            model.next_ip_b = next;
        }
        Ok(model)
    }

    fn commit(
        &mut self,
        changes: &Changes,
        durable: Durability,
    ) -> Result<Option<i64>, StoreError> {
        let failed = self.failed();
        // With a write-ahead log, `normal` is safe from corruption, and only leaves out the wait for the disk.
        let synchronous = if durable == Durability::Now { "full" } else { "normal" };
        self.connection.pragma_update(None, "synchronous", synchronous).map_err(&failed)?;
        let transaction = self.connection.transaction().map_err(&failed)?;
        let last = write(&transaction, changes).map_err(&failed)?;
        transaction.commit().map_err(&failed)?;
        Ok(last)
    }

    fn unconfirmed(&mut self, limit: usize) -> Result<Vec<Unconfirmed>, StoreError> {
        let failed = self.failed();
        let query = "SELECT sequence, body FROM event ORDER BY sequence LIMIT ?1";
        let mut statement = self.connection.prepare_cached(query).map_err(&failed)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = statement.query_map([limit], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)));
        let mut events = Vec::new();
        for row in rows.map_err(&failed)? {
            let (sequence, body): (i64, String) = row.map_err(&failed)?;
            let event: Event =
                serde_json::from_str(&body).map_err(|error| StoreError::Damaged {
                    file: self.file.clone(),
                    what: format!("event {sequence}"),
                    reason: error.to_string(),
                })?;
            events.push(Unconfirmed { sequence, event });
        }
        Ok(events)
    }

    fn confirm(&mut self, up_to: i64) -> Result<(), StoreError> {
        let forgotten = self.connection.execute("DELETE FROM event WHERE sequence <= ?1", [up_to]);
        forgotten.map(drop).map_err(self.failed())
    }
}

fn write(transaction: &Transaction<'_>, changes: &Changes) -> rusqlite::Result<Option<i64>> {
    put(transaction, "cen", changes.cens.iter().map(|(id, body)| (id.as_str(), body)))?;
    put(transaction, "container", changes.containers.iter().map(|(id, body)| (id.as_str(), body)))?;
    put(transaction, "cin", changes.cins.iter().map(|(id, body)| (id.as_str(), body)))?;
    if let Some(next) = changes.next_ip_b {
        let statement = "INSERT OR REPLACE INTO counter (id, value) VALUES ('next_ip_b', ?1)";
        transaction.execute(statement, [next])?;
    }
    for event in &changes.events {
        transaction.execute("INSERT INTO event (body) VALUES (?1)", [text(event)?])?;
    }
    Ok((!changes.events.is_empty()).then(|| transaction.last_insert_rowid()))
}

fn put<'c, T: Serialize + 'c>(
    transaction: &Transaction<'_>,
    table: &str,
    records: impl Iterator<Item = (&'c str, &'c Option<T>)>,
) -> rusqlite::Result<()> {
    let set = format!("INSERT OR REPLACE INTO {table} (id, body) VALUES (?1, ?2)");
    let remove = format!("DELETE FROM {table} WHERE id = ?1");
    for (id, record) in records {
        match record {
            Some(record) => {
                transaction.prepare_cached(&set)?.execute(params![id, text(record)?])?
            }
            None => transaction.prepare_cached(&remove)?.execute([id])?,
        };
    }
    Ok(())
}

fn text<T: Serialize>(record: &T) -> rusqlite::Result<String> {
    serde_json::to_string(record)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SqliteStore({})", self.file)
    }
}
