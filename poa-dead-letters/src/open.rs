//! The database file.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::time::Duration;

use poa_sqlite::Watch;
use rusqlite::{Connection, TransactionBehavior};

/// Marks a file as a database of dead letters: "poaD".
const APPLICATION_ID: i32 = 0x706f_6144;

const VERSION: i32 = 1;

const SCHEMA: &str = "
    CREATE TABLE dead_letters (
        id            INTEGER PRIMARY KEY AUTOINCREMENT,
        receiver      TEXT NOT NULL,
        message_id    TEXT NOT NULL,
        agent_id      TEXT NOT NULL,
        data_type     TEXT NOT NULL,
        message_type  TEXT NOT NULL,
        format        TEXT NOT NULL,
        payload       BLOB NOT NULL,
        received_at   INTEGER NOT NULL,
        reason        TEXT NOT NULL,
        attempts      INTEGER NOT NULL,
        first_attempt INTEGER NOT NULL,
        set_aside     INTEGER NOT NULL,
        replay        INTEGER NOT NULL DEFAULT 0,
        UNIQUE (receiver, message_id)
    ) STRICT;
    CREATE INDEX dead_letters_replay ON dead_letters (replay, receiver, message_id);
";

/// The reason why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file cannot be used.
    #[error(
        "cannot open the dead letters in {path}; check that it is a file and that this user can write it"
    )]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The file is not a database of dead letters.
    #[error("{path} is not a database of dead letters; move it away to start with an empty one")]
    Database {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: rusqlite::Error,
    },
    /// Another version of the program wrote it.
    #[error(
        "{path} has schema version {found}, but this program supports version {VERSION}; use the program that wrote it"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i32,
    },
    /// The file is the database of another program.
    #[error("{path} is the database of another program; choose another path")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
}

/// An open database, and whether its file is where it was.
#[derive(Debug)]
pub(crate) struct Opened {
    connection: Connection,
    watch: Watch,
}

impl Opened {
    /// Opens the database, for its owner alone, and makes it if it is not there.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let connection = open(path)?;
        Ok(Self { connection, watch: Watch::begin(path) })
    }

    /// Opens the database again when its file was removed, moved or replaced; false when it was not.
    ///
    /// What was written into the file that was there is not in the one that the next start finds.
    pub(crate) fn renew(&mut self, path: &Path) -> Result<bool, OpenError> {
        if self.watch.is_intact() {
            return Ok(false);
        }
        tracing::warn!(
            "{} was removed, moved or replaced while it was in use; dead letters are kept in a new file at the same path",
            path.display()
        );
        // First the old one is left: both have a write-ahead log of the same name.
        let memory = Connection::open_in_memory();
        let memory =
            memory.map_err(|source| OpenError::Database { path: path.to_owned(), source })?;
        let gone = std::mem::replace(&mut self.connection, memory);
        if let Err(error) = poa_sqlite::leave(gone, &self.watch) {
            tracing::warn!(%error, "the file of dead letters that was moved may lack the last of them");
        }
        // When this fails, the file is still not where it was, and the next call tries again.
        *self = Self::open(path)?;
        Ok(true)
    }
}

impl Deref for Opened {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for Opened {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

fn open(path: &Path) -> Result<Connection, OpenError> {
    poa_sqlite::create(path).map_err(|source| OpenError::File { path: path.to_owned(), source })?;
    let failed = |source| OpenError::Database { path: path.to_owned(), source };
    let mut connection = Connection::open(path).map_err(failed)?;
    connection.busy_timeout(Duration::from_secs(5)).map_err(failed)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    migrate(&mut connection, path)?;
    Ok(connection)
}

/// Safe when several programs open the database at the same time: one migrates, the others wait and find it migrated.
fn migrate(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::Database { path: path.to_owned(), source };
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let pragma = |name| transaction.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let (version, id) =
        (pragma("user_version").map_err(failed)?, pragma("application_id").map_err(failed)?);
    match (version, id) {
        (0, 0) => {
            transaction.execute_batch(SCHEMA).map_err(failed)?;
            transaction.pragma_update(None, "user_version", VERSION).map_err(failed)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
            transaction.commit().map_err(failed)
        }
        (VERSION, APPLICATION_ID) => Ok(()),
        (found, APPLICATION_ID) => Err(OpenError::Newer { path: path.to_owned(), found }),
        _ => Err(OpenError::Foreign { path: path.to_owned() }),
    }
}
