//! The last values on disk, which survive a restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use poa_core::AgentId;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Transaction};

use crate::state::{Kept, Row, Rows, Saved};

/// A database of the last values. Cloning is cheap.
#[derive(Clone, Debug)]
pub(crate) struct Store(Arc<Mutex<Connection>>);

/// The reason why the last values cannot be read or saved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The file cannot be created or opened.
    #[error("cannot open {path}: {source}; check that its directory exists and is writable")]
    CannotOpen {
        path: String,
        #[source]
        source: std::io::Error,
    },
    /// It is a file of another program or of a newer version.
    #[error("{0} is not a file of this dashboard; set `path` to another one")]
    Foreign(String),
    /// SQLite reports an error.
    #[error("cannot use {path}: {source}")]
    Database {
        path: String,
        #[source]
        source: rusqlite::Error,
    },
}

/// Marks the file as ours, in this layout: "poaD".
const APPLICATION_ID: i64 = 0x706f_6144;

/// The time to wait for another program that reads the file.
const BUSY: Duration = Duration::from_secs(5);

const TABLES: &str = "
    CREATE TABLE agents (agent_id TEXT PRIMARY KEY, view TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE frames (
        agent_id  TEXT NOT NULL,
        place     INTEGER NOT NULL,
        data_type TEXT NOT NULL,
        frame     TEXT NOT NULL,
        PRIMARY KEY (agent_id, place)
    ) WITHOUT ROWID;
    CREATE TABLE keys (name TEXT PRIMARY KEY, key BLOB NOT NULL) WITHOUT ROWID;
";

impl StoreError {
    /// Whether what is in the file cannot be read, so that the store has to be made again.
    pub(crate) fn is_damaged(&self) -> bool {
        let Self::Database { source, .. } = self else { return false };
        let code = source.sqlite_error_code();
        matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
    }
}

/// Moves a damaged file out of the way, next to where it was. It only spares the page a moment without values, so it must not keep the
/// dashboard from starting.
///
/// # Errors
/// When it cannot be moved.
pub(crate) fn set_aside(path: &Path) -> Result<(), StoreError> {
    let with = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let aside = with(".damaged");
    std::fs::rename(path, &aside)
        .map_err(|source| StoreError::CannotOpen { path: path.display().to_string(), source })?;
    // They belong to the damaged file, and would spoil a new one.
    for companion in ["-wal", "-shm"] {
        let _ = std::fs::rename(with(companion), with(&format!(".damaged{companion}")));
    }
    tracing::warn!(
        "{} is damaged; it is now {}, and the dashboard begins without last values",
        path.display(),
        aside.display()
    );
    Ok(())
}

impl Store {
    /// Opens the file, and creates it if it is missing. Blocks.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let shown = || path.display().to_string();
        poa_sqlite::create(path)
            .map_err(|source| StoreError::CannotOpen { path: shown(), source })?;
        let failed = |source| StoreError::Database { path: shown(), source };
        let mut connection = Connection::open(path).map_err(failed)?;
        match prepare(&mut connection) {
            Ok(true) => Ok(Self(Arc::new(Mutex::new(connection)))),
            Ok(false) => Err(StoreError::Foreign(shown())),
            Err(source) => Err(failed(source)),
        }
    }

    /// Reads the saved agents, in no particular order; unreadable ones are skipped. Blocks.
    pub(crate) fn load(&self) -> rusqlite::Result<Vec<Saved>> {
        let connection = self.0.lock();
        let mut frames = connection
            .prepare("SELECT data_type, frame FROM frames WHERE agent_id = ?1 ORDER BY place")?;
        let mut agents = connection.prepare("SELECT agent_id, view FROM agents")?;
        let mut saved = Vec::new();
        for row in agents.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))? {
            let (id, view): (String, String) = row?;
            let kept = frames.query_map([&id], |row| {
                Ok(Kept { data_type: row.get(0)?, frame: row.get::<_, String>(1)?.into() })
            })?;
            let kept = kept.collect::<Result<_, _>>()?;
            if let (Ok(id), Ok(view)) = (AgentId::new(id), serde_json::from_str(&view)) {
                saved.push(Saved { id, view, kept });
            }
        }
        Ok(saved)
    }

    /// Saves these rows, all or none. Blocks.
    pub(crate) fn save(&self, rows: &Rows) -> rusqlite::Result<()> {
        let mut connection = self.0.lock();
        let transaction = connection.transaction()?;
        for (id, row) in rows {
            match row {
                Some(row) => write(&transaction, id.as_str(), row)?,
                None => erase(&transaction, id.as_str())?,
            }
        }
        transaction.commit()
    }

    /// Returns the key of this name; creates it with `make` if it is missing. Blocks.
    pub(crate) fn key(
        &self,
        name: &str,
        make: impl FnOnce() -> Vec<u8>,
    ) -> rusqlite::Result<Vec<u8>> {
        let connection = self.0.lock();
        let known = connection
            .query_row("SELECT key FROM keys WHERE name = ?1", [name], |row| row.get(0))
            .optional()?;
        if let Some(key) = known {
            return Ok(key);
        }
        let key = make();
        connection.execute("INSERT INTO keys VALUES (?1, ?2)", (name, &key))?;
        Ok(key)
    }
}

fn write(transaction: &Transaction<'_>, id: &str, row: &Row) -> rusqlite::Result<()> {
    // A row consists of texts and finite numbers, so it has a JSON form.
    let view = serde_json::to_string(&row.view).unwrap_or_default();
    transaction
        .prepare_cached("INSERT OR REPLACE INTO agents VALUES (?1, ?2)")?
        .execute((id, view))?;
    let Some(kept) = &row.kept else { return Ok(()) };
    erase_frames(transaction, id)?;
    let mut insert = transaction.prepare_cached("INSERT INTO frames VALUES (?1, ?2, ?3, ?4)")?;
    for (place, Kept { data_type, frame }) in kept.iter().enumerate() {
        insert.execute((id, place as i64, data_type, String::from_utf8_lossy(frame)))?;
    }
    Ok(())
}

fn erase(transaction: &Transaction<'_>, id: &str) -> rusqlite::Result<()> {
    transaction.prepare_cached("DELETE FROM agents WHERE agent_id = ?1")?.execute([id])?;
    erase_frames(transaction, id)
}

fn erase_frames(transaction: &Transaction<'_>, id: &str) -> rusqlite::Result<()> {
    transaction.prepare_cached("DELETE FROM frames WHERE agent_id = ?1")?.execute([id]).map(drop)
}

/// Configures the connection and creates the tables; false when the file is not ours.
fn prepare(connection: &mut Connection) -> rusqlite::Result<bool> {
    connection.busy_timeout(BUSY)?;
    let pragma = |connection: &Connection, name| {
        connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0))
    };
    let tables = "SELECT count(*) FROM sqlite_schema";
    let empty = connection.query_row(tables, [], |row| row.get::<_, i64>(0))? == 0;
    match (pragma(connection, "application_id")?, empty) {
        (APPLICATION_ID, _) => {}
        (0, true) => {
            let transaction = connection.transaction()?;
            transaction.execute_batch(TABLES)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.commit()?;
        }
        _ => return Ok(false),
    }
    connection.pragma_update(None, "journal_mode", "wal")?;
    // This setting survives a crash of the process at any moment. A power cut can lose the last values of a few
    // seconds.
    connection.pragma_update(None, "synchronous", "normal")?;
    Ok(true)
}

/// The file of a secret that belongs to this file.
pub(crate) fn secret_file(path: &Path) -> PathBuf {
    path.with_extension("secret")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Condition, View};

    fn id(name: &str) -> AgentId {
        AgentId::new(name).unwrap()
    }

    fn row(since: u64, frames: Option<&[(&str, &'static str)]>) -> Option<Row> {
        let kept = |(data_type, frame): &(&str, &'static str)| Kept {
            data_type: (*data_type).to_owned(),
            frame: (*frame).into(),
        };
        let view = View { state: Condition::Inactive, since, ..View::default() };
        Some(Row { view, kept: frames.map(|frames| frames.iter().map(kept).collect()) })
    }

    #[test]
    fn what_is_saved_is_there_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dashboard.db");
        let store = Store::open(&path).unwrap();
        let frames: &[_] = &[("", "information"), ("ethereum_metrics", "statistics")];
        store
            .save(&vec![(id("a"), row(1, Some(frames))), (id("b"), row(2, Some(frames)))])
            .unwrap();
        store.save(&vec![(id("a"), row(3, None)), (id("b"), None)]).unwrap();
        drop(store);
        let saved = Store::open(&path).unwrap().load().unwrap();
        assert_eq!(saved.len(), 1, "{saved:?}");
        assert_eq!((saved[0].id.as_str(), saved[0].view.since), ("a", 3));
        let kept: Vec<_> =
            saved[0].kept.iter().map(|kept| (&*kept.data_type, &kept.frame[..])).collect();
        assert_eq!(kept, [("", &b"information"[..]), ("ethereum_metrics", &b"statistics"[..])]);
    }

    #[test]
    fn a_key_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("dashboard.db")).unwrap();
        assert_eq!(store.key("cookies", || vec![1, 2]).unwrap(), [1, 2]);
        assert_eq!(store.key("cookies", || panic!("there is one")).unwrap(), [1, 2]);
    }

    #[test]
    fn files_of_others_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE mine (x)").unwrap();
        assert!(matches!(Store::open(&path), Err(StoreError::Foreign(_))));
        let missing = dir.path().join("no/such/directory.db");
        assert!(matches!(Store::open(&missing), Err(StoreError::CannotOpen { .. })));
    }
}
