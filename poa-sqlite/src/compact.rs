//! Shrinks a file.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

/// How large a file was, and is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compacted {
    /// Before.
    pub before: u64,
    /// After.
    pub after: u64,
}

/// Why a file could not be compacted. It is as it was before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompactError {
    /// Another program has it open.
    #[error(
        "{path} is in use; stop the server and other programs that have it open, then try again"
    )]
    InUse {
        /// The file.
        path: PathBuf,
        /// The error of SQLite.
        source: rusqlite::Error,
    },
    /// There is no room for the copy that SQLite writes first.
    #[error(
        "no space is left to compact {path}; free as much as the file takes on its disk and in the directory for temporary files \
         (`SQLITE_TMPDIR`)"
    )]
    Full {
        /// The file.
        path: PathBuf,
        /// The error of SQLite.
        source: rusqlite::Error,
    },
    /// It cannot be read or written.
    #[error("cannot open {path}; it must exist, and this user must be allowed to write it")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// SQLite refuses.
    #[error("cannot compact {path}; if it is damaged, restore it from a backup")]
    Database {
        /// The file.
        path: PathBuf,
        /// The error of SQLite.
        source: rusqlite::Error,
    },
}

impl CompactError {
    fn new(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Self::InUse { path, source }
            }
            Some(ErrorCode::DiskFull) => Self::Full { path, source },
            _ => Self::Database { path, source },
        }
    }
}

/// How long to wait for a program that is just closing the file.
const PATIENCE: Duration = Duration::from_secs(1);

/// Rewrites a database so that it takes no more than its rows need, and lets it shrink step by step from then on. Blocks, for about as
/// long as a copy of the file takes.
///
/// Interrupted at any moment, it leaves the file as it was.
///
/// # Errors
/// See [`CompactError`]. A file that any program has open is left alone.
pub fn compact(path: &Path) -> Result<Compacted, CompactError> {
    let size = || std::fs::metadata(path).map(|found| found.len());
    let unopened = |source| CompactError::Open { path: path.to_owned(), source };
    let before = size().map_err(unopened)?;
    rewrite(path).map_err(|source| CompactError::new(path, source))?;
    Ok(Compacted { before, after: size().map_err(unopened)? })
}

fn rewrite(path: &Path) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(PATIENCE)?;
    let journal = |mode| {
        connection
            .pragma_update_and_check(None, "journal_mode", mode, |row| row.get::<_, String>(0))
    };
    // The write-ahead log can only be left by a program that has the file for itself; so this tells whether another one has it open.
    let before: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    journal("delete")?;
    let rewritten = connection.execute_batch("PRAGMA auto_vacuum = incremental; VACUUM");
    let restored = journal(&before);
    rewritten.and(restored.map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(path: &Path) -> Connection {
        let connection = Connection::open(path).unwrap();
        connection.pragma_update(None, "journal_mode", "wal").unwrap();
        let fill = "CREATE TABLE t (b); WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
            INSERT INTO t SELECT zeroblob(2000) FROM n; DELETE FROM t WHERE rowid > 10";
        connection.execute_batch(fill).unwrap();
        connection
    }

    #[test]
    fn a_file_shrinks_and_keeps_its_rows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        drop(filled(&path));
        let Compacted { before, after } = compact(&path).unwrap();
        assert!(before > 1_000_000 && after < 100_000, "{before} {after}");
        let connection = Connection::open(&path).unwrap();
        let value = |query| connection.query_row(query, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!((value("SELECT count(*) FROM t"), value("PRAGMA auto_vacuum")), (10, 2));
        let mode: String =
            connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        assert_eq!(mode, "wal");
    }

    #[test]
    fn a_file_in_use_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let connection = filled(&path);
        let error = compact(&path).unwrap_err();
        assert!(matches!(error, CompactError::InUse { .. }), "{error:?}");
        assert!(error.to_string().contains("stop the server"), "{error}");
        drop(connection);
        assert!(compact(&path).is_ok());
        let missing = compact(&dir.path().join("missing.db")).unwrap_err();
        assert!(missing.to_string().contains("it must exist"), "{missing}");
    }
}
