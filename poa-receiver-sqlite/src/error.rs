//! Errors of the database, and whether they are transient.

use std::path::Path;

use poa_core::{BuildError, DeliveryError};
use rusqlite::ErrorCode;

/// The reason why the database could not be opened, or messages could not be stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("{path} is locked by another program; end that program, or raise `busy_timeout`")]
    Busy { path: String, source: rusqlite::Error },
    #[error("no space is left for {path}; free some")]
    Full { path: String, source: rusqlite::Error },
    #[error(
        "{path} IS DAMAGED and nothing can be stored; stop the host, then restore the file from a backup, or move it and its \
         -wal file away so that a new one is made"
    )]
    Damaged { path: String, source: rusqlite::Error },
    #[error("{path} is not an SQLite database; name another file as `path`")]
    NotADatabase { path: String, source: rusqlite::Error },
    #[error(
        "{path} cannot be used; check that its disk works, and that this user may write the file and its directory"
    )]
    Inaccessible { path: String, source: rusqlite::Error },
    #[error(
        "cannot open {path}; its directory must exist, and this user must be allowed to read and write there"
    )]
    CannotOpen { path: String, source: std::io::Error },
    #[error("{0} is a directory; name a file as `path`")]
    Directory(String),
    #[error(
        "{path} was created by a newer poa (schema {found}, this one knows {known}); use that one, or name another file as `path`"
    )]
    Newer { path: String, found: i64, known: i64 },
    #[error("{0} is the database of another application; name another file as `path`")]
    Foreign(String),
    #[error("{path} cannot keep a write-ahead log, only `{mode}`; put it on a local disk")]
    NoWal { path: String, mode: String },
    #[error("{path} cannot hold the message")]
    Rejected { path: String, items: Vec<usize>, source: poa_core::BoxError },
    #[error(
        "{path} does not work as it should; if tables were changed by hand, move the file away so that a new one is created"
    )]
    Other { path: String, source: rusqlite::Error },
    #[error(
        "{0} was removed, moved or replaced while it was in use; the messages are stored in a new file at the same path"
    )]
    Gone(String),
    #[error("the call was dropped before it started")]
    GivenUp,
    #[error("the runtime is shutting down")]
    RuntimeGone,
}

impl StoreError {
    /// Classifies an error of SQLite by its cure.
    pub(crate) fn new(path: &Path, source: rusqlite::Error) -> Self {
        use ErrorCode as Code;
        let path = path.display().to_string();
        let Some(code) = source.sqlite_error_code() else { return Self::Other { path, source } };
        match code {
            Code::DatabaseBusy | Code::DatabaseLocked => Self::Busy { path, source },
            Code::DiskFull => Self::Full { path, source },
            Code::DatabaseCorrupt => Self::Damaged { path, source },
            Code::NotADatabase => Self::NotADatabase { path, source },
            Code::SystemIoFailure | Code::CannotOpen | Code::ReadOnly | Code::PermissionDenied => {
                Self::Inaccessible { path, source }
            }
            _ => Self::Other { path, source },
        }
    }

    /// Whether the connection still works: another program or the content was the cause.
    pub(crate) fn keeps_connection(&self) -> bool {
        use StoreError as E;
        matches!(self, E::Busy { .. } | E::Full { .. } | E::Rejected { .. } | E::GivenUp)
    }
}

impl From<StoreError> for DeliveryError {
    /// Only the content of a message makes an error permanent. Waiting does not repair a damaged database, but an operator can, and
    /// the restored file should get the messages; so that is transient.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Rejected { ref items, .. } => Self::permanent_for(items.clone(), error),
            error => Self::transient(error),
        }
    }
}

impl StoreError {
    /// Whether the configuration names something other than a database of this receiver. All other causes lie outside of the host,
    /// and must not keep other receivers from starting.
    fn is_misconfigured(&self) -> bool {
        use StoreError as E;
        match self {
            E::CannotOpen { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
            E::Directory(_) | E::Newer { .. } | E::Foreign(_) | E::NoWal { .. } => true,
            _ => false,
        }
    }
}

impl From<StoreError> for BuildError {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        let build = if error.is_misconfigured() {
            Self::failed(message)
        } else {
            Self::unavailable(message)
        };
        match std::error::Error::source(&error) {
            Some(source) => build.with_source(source.to_string()),
            None => build,
        }
    }
}
