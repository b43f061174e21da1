use std::io;
use std::path::PathBuf;

/// Why a server could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// No programs of PostgreSQL are installed.
    #[error(
        "there is no `initdb` in PATH or in /usr/lib/postgresql; install PostgreSQL, or name the directory of its programs in \
         POA_TEST_POSTGRES_BIN"
    )]
    NoPrograms,
    /// PgBouncer is not installed.
    #[error(
        "there is no `pgbouncer` in PATH or in /usr/sbin; install it (Debian: `apt-get install pgbouncer`)"
    )]
    NoBouncer,
    /// A file or a program could not be used.
    #[error("{what}")]
    Io {
        /// The action that failed.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A program said no.
    #[error("{program} failed: {output}")]
    Refused {
        /// The program.
        program: PathBuf,
        /// Its output.
        output: String,
    },
    /// The server ended before it was ready, or did not get ready.
    #[error("the server did not start: {log}")]
    NotStarted {
        /// Its log output.
        log: String,
    },
}

impl ClusterError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        |source| Self::Io { what, source }
    }
}
