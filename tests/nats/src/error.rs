use std::io;

/// Why a server does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The program is not known.
    #[error(
        "set POA_TEST_NATS_SERVER to the program `nats-server` 2.15 or newer, or run `cargo xtask test`, which installs it"
    )]
    NoProgram,
    /// A file or a process could not be used.
    #[error("{what}")]
    Io {
        /// The action that failed.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The server ended before it was ready, or did not get ready in time.
    #[error("the server did not start: {log}")]
    NotStarted {
        /// Its log output.
        log: String,
    },
}

impl ServerError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        |source| Self::Io { what, source }
    }
}
