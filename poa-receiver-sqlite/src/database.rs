//! Opens the database file and brings its tables up to date.

pub(crate) mod migrations;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::error::StoreError;

/// The database file, and how long to wait for it.
#[derive(Clone, Debug)]
pub(crate) struct Location {
    pub(crate) path: PathBuf,
    pub(crate) busy_timeout: Duration,
}

/// The write-ahead log is truncated to this many bytes after a checkpoint, if a long reader let it grow.
const KEPT_LOG: i64 = 64 << 20;

/// The wait before retrying an operation for which SQLite does not wait by itself.
const PAUSE: Duration = Duration::from_millis(5);

/// Opens the database, and creates and migrates it if necessary. Blocks.
pub(crate) fn open(location: &Location) -> Result<Connection, StoreError> {
    let path = &*location.path;
    create_file(path)?;
    let failed = |source| StoreError::new(path, source);
    // Without the flag for URIs, so that a file may be named `file:x`.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(location.busy_timeout).map_err(failed)?;
    migrations::refuse_unknown(&connection, path)?;
    // Takes effect in a file that has no tables yet.
    connection.pragma_update(None, "auto_vacuum", "incremental").map_err(failed)?;
    use_wal(&connection, location)?;
    configure(&connection).map_err(failed)?;
    migrations::apply(&mut connection, path)?;
    Ok(connection)
}

/// Creates the file for its owner only; SQLite gives its companion files the same mode.
fn create_file(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        return Err(StoreError::Directory(path.display().to_string()));
    }
    poa_sqlite::create(path)
        .map_err(|source| StoreError::CannotOpen { path: path.display().to_string(), source })
}

/// Turns the write-ahead log on. Needs exclusive access for a moment, and SQLite does not always wait for that.
fn use_wal(connection: &Connection, location: &Location) -> Result<(), StoreError> {
    let path = &*location.path;
    let deadline = Instant::now() + location.busy_timeout;
    loop {
        let mode = connection
            .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0));
        let error = match mode {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(mode) => return Err(StoreError::NoWal { path: path.display().to_string(), mode }),
            Err(source) => StoreError::new(path, source),
        };
        if !matches!(error, StoreError::Busy { .. }) || Instant::now() >= deadline {
            return Err(error);
        }
        std::thread::sleep(PAUSE);
    }
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    // The host drops what was confirmed, so it must be durable by then; NORMAL would sync at checkpoints only.
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "journal_size_limit", KEPT_LOG)?;
    // A receiver may be dropped on an async thread: closing must not cost disk writes then. `close` does that work.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(())
}

/// Writes everything into the database file and closes it; the companion files are removed, unless another program has it
/// open. Blocks.
pub(crate) fn close(connection: Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    connection.close().map_err(|(_, error)| error)
}
