//! The registered nodes on the disk.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use poa_core::files;
use rusqlite::Connection;

use crate::definition::Definition;

/// The file. Cloning is cheap: clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Store(Arc<Mutex<Connection>>);

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("cannot open {path}: {source}; make it writable, or name another file with `path`")]
    CannotOpen { path: String, source: std::io::Error },
    #[error("{0} is not a file of a Gilmour gateway; name another one with `path`")]
    Foreign(String),
    #[error("cannot use {path}: {source}")]
    Database { path: String, source: rusqlite::Error },
}

/// Marks the file as ours, in this layout: "poaG".
const APPLICATION_ID: i64 = 0x706f_6147;

/// How long to wait for another program that reads the file.
const BUSY: Duration = Duration::from_secs(5);

impl Store {
    /// Opens the file, and makes it if need be. Blocks.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        create_file(path)?;
        let shown = || path.display().to_string();
        let failed = |source| StoreError::Database { path: shown(), source };
        let connection = Connection::open(path).map_err(failed)?;
        match prepare(&connection) {
            Ok(true) => Ok(Self(Arc::new(Mutex::new(connection)))),
            Ok(false) => Err(StoreError::Foreign(shown())),
            Err(source) => Err(failed(source)),
        }
    }

    /// All nodes, by their ids; what cannot be read is left out. Blocks.
    pub(crate) fn load(&self) -> rusqlite::Result<Vec<(String, Definition)>> {
        let connection = self.0.lock();
        let mut nodes = connection.prepare("SELECT id, definition FROM nodes ORDER BY rowid")?;
        let rows = nodes.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut read = Vec::new();
        for row in rows {
            let (id, definition): (String, String) = row?;
            match serde_json::from_str(&definition) {
                Ok(definition) => read.push((id, definition)),
                Err(error) => tracing::warn!("left out a node that cannot be read: {error}"),
            }
        }
        Ok(read)
    }

    /// Keeps a node, in place of what was kept of it.
    pub(crate) async fn save(&self, id: &str, definition: &Definition) -> Result<(), String> {
        let text = serde_json::to_string(definition).map_err(|error| error.to_string())?;
        let id = id.to_owned();
        let insert =
            "INSERT INTO nodes VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET definition = ?2";
        self.write(move |connection| connection.execute(insert, (id, text)).map(drop)).await
    }

    /// Forgets a node.
    pub(crate) async fn remove(&self, id: &str) -> Result<(), String> {
        let id = id.to_owned();
        let delete = "DELETE FROM nodes WHERE id = ?1";
        self.write(move |connection| connection.execute(delete, [id]).map(drop)).await
    }

    async fn write(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<()> + Send + 'static,
    ) -> Result<(), String> {
        let store = self.clone();
        let written = tokio::task::spawn_blocking(move || work(&store.0.lock())).await;
        written.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }
}

/// Makes the file for its owner alone; SQLite gives its companions the same mode.
fn create_file(path: &Path) -> Result<(), StoreError> {
    let mut options = files::private();
    let opened = options.read(true).write(true).create(true).truncate(false).open(path).map(drop);
    opened.map_err(|source| StoreError::CannotOpen { path: path.display().to_string(), source })
}

/// Configures the connection and makes the table; false when the file is not ours.
fn prepare(connection: &Connection) -> rusqlite::Result<bool> {
    connection.busy_timeout(BUSY)?;
    let application: i64 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables = "SELECT count(*) FROM sqlite_schema";
    let empty = connection.query_row(tables, [], |row| row.get::<_, i64>(0))? == 0;
    match (application, empty) {
        (APPLICATION_ID, _) => {}
        (0, true) => connection.pragma_update(None, "application_id", APPLICATION_ID)?,
        _ => return Ok(false),
    }
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "normal")?;
    let table =
        "CREATE TABLE IF NOT EXISTS nodes (id TEXT NOT NULL UNIQUE, definition TEXT NOT NULL)";
    connection.execute(table, []).map(|_| true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::Target;

    fn definition(port: u16) -> Definition {
        Definition {
            target: Target::Tcp { host: "127.0.0.1".into(), port },
            health_check: "/health".into(),
            name: None,
            legacy_body: false,
            services: Vec::new(),
            slots: Vec::new(),
        }
    }

    #[tokio::test]
    async fn nodes_are_there_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gilmour.db");
        let store = Store::open(&path).unwrap();
        store.save("a", &definition(1)).await.unwrap();
        store.save("b", &definition(2)).await.unwrap();
        store.save("a", &definition(3)).await.unwrap();
        store.remove("b").await.unwrap();
        drop(store);
        assert_eq!(Store::open(&path).unwrap().load().unwrap(), [("a".to_owned(), definition(3))]);
    }

    #[test]
    fn files_of_others_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE mine (x)").unwrap();
        assert!(matches!(Store::open(&path), Err(StoreError::Foreign(_))));
        let missing = dir.path().join("no/such/gilmour.db");
        assert!(matches!(Store::open(&missing), Err(StoreError::CannotOpen { .. })));
    }
}
