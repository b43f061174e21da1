//! Whether the file that a connection has open is still the one at its path.

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use crate::file::companion;

/// The files that a connection had open when this was made.
///
/// SQLite has a file open by its inode. Once the file is removed, moved or replaced, what is committed goes into a file that no later
/// start finds. Two `stat` calls after each commit tell.
#[derive(Clone, Debug)]
pub struct Watch {
    path: PathBuf,
    database: Option<Inode>,
    log: Option<Inode>,
}

impl Watch {
    /// Begins to watch the database at this path. Call it once the connection is in WAL mode and has read or written something, because
    /// SQLite makes the write-ahead log only then.
    #[must_use]
    pub fn begin(path: &Path) -> Self {
        let log = Inode::of(&companion(path, "-wal"));
        Self { path: path.to_owned(), database: Inode::of(path), log }
    }

    /// True while the database and its write-ahead log are where they were.
    ///
    /// Always true on systems that have no inodes.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        let same = |known: Option<Inode>, path: &Path| known.is_none() || Inode::of(path) == known;
        same(self.database, &self.path) && same(self.log, &companion(&self.path, "-wal"))
    }

    /// Removes what a database that is no longer at its path left there, so that a new one begins without it.
    fn clear(&self) {
        let wal = companion(&self.path, "-wal");
        let is_ours = self.log.is_some() && Inode::of(&wal) == self.log;
        if is_ours && Inode::of(&self.path) != self.database {
            // What cannot be removed is empty, so SQLite can do without its removal.
            let _ = std::fs::remove_file(wal);
            let _ = std::fs::remove_file(companion(&self.path, "-shm"));
        }
    }
}

/// Closes a connection whose files were removed, moved or replaced. Blocks.
///
/// Call it before the path is opened again: two databases with a write-ahead log of the same name spoil each other.
///
/// First the database gets what its write-ahead log holds: a file that was moved without the log is whole after this. Closing in the
/// usual way would delete the files at the old path, which may be another database's by now; so SQLite is told not to do that.
///
/// # Errors
/// When the moved file could not be given its rows. The connection is closed nevertheless.
pub fn leave(connection: Connection, watch: &Watch) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    let busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
    drop(connection);
    if !busy? {
        watch.clear();
    }
    Ok(())
}

/// A file as the file system knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Inode {
    device: u64,
    number: u64,
}

impl Inode {
    #[cfg(unix)]
    fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let found = std::fs::metadata(path).ok()?;
        Some(Self { device: found.dev(), number: found.ino() })
    }

    #[cfg(not(unix))]
    fn of(_: &Path) -> Option<Self> {
        None
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    struct Subject {
        dir: TempDir,
        connection: Connection,
        watch: Watch,
    }

    impl Subject {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("a.db");
            let connection = open(&path);
            connection.execute_batch("CREATE TABLE t (n); INSERT INTO t VALUES (1)").unwrap();
            let watch = Watch::begin(&path);
            assert!(watch.is_intact());
            Self { dir, connection, watch }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn rename(&self, from: &str, to: &str) {
            std::fs::rename(self.path(from), self.path(to)).unwrap();
        }
    }

    fn open(path: &Path) -> Connection {
        let connection = Connection::open(path).unwrap();
        connection.pragma_update(None, "journal_mode", "wal").unwrap();
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
        connection
    }

    fn rows(path: &Path) -> i64 {
        let query = "SELECT count(*) FROM t";
        Connection::open(path).unwrap().query_row(query, [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_file_that_is_gone_is_noticed_and_so_is_its_log() {
        for name in ["a.db", "a.db-wal"] {
            let subject = Subject::new();
            std::fs::remove_file(subject.path(name)).unwrap();
            assert!(!subject.watch.is_intact(), "{name}");
        }
    }

    #[test]
    fn a_moved_file_gets_the_rows_of_its_log() {
        let subject = Subject::new();
        subject.rename("a.db", "b.db");
        let (dir, watch) = (subject.dir, subject.watch);
        assert!(!watch.is_intact());
        leave(subject.connection, &watch).unwrap();
        assert_eq!(rows(&dir.path().join("b.db")), 1);
        assert!(!dir.path().join("a.db-wal").exists());
    }

    #[test]
    fn a_log_that_was_removed_costs_no_rows() {
        let subject = Subject::new();
        std::fs::remove_file(subject.path("a.db-wal")).unwrap();
        leave(subject.connection, &subject.watch).unwrap();
        assert_eq!(rows(&subject.dir.path().join("a.db")), 1);
    }

    #[test]
    fn what_took_the_place_of_a_database_is_left_alone() {
        let subject = Subject::new();
        subject.rename("a.db", "old.db");
        subject.rename("a.db-wal", "old.db-wal");
        let path = subject.path("a.db");
        let other = open(&path);
        other.execute_batch("CREATE TABLE t (n); INSERT INTO t VALUES (1), (2)").unwrap();
        assert!(!subject.watch.is_intact());
        leave(subject.connection, &subject.watch).unwrap();
        // As after a crash: what it holds is in its log.
        assert!(path.with_extension("db-wal").exists());
        drop(other);
        assert_eq!((rows(&path), rows(&subject.dir.path().join("old.db"))), (2, 1));
    }
}
