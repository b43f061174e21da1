use std::io;

use crate::Position;

/// The reason why an operation of the log failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The storage failed: no space, no permission, a fault of the disk.
    #[error("cannot {doing} `{file}`")]
    Io {
        /// The operation that failed.
        doing: &'static str,
        /// The file that it concerned.
        file: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A file was written with another version of the format.
    #[error(
        "`{file}` has format {found}, and this program knows format {known}; use the program that wrote it"
    )]
    UnknownFormat {
        /// The name of the file.
        file: String,
        /// The version of the file.
        found: u32,
        /// The version that this program supports.
        known: u32,
    },
    /// A file in the log's directory is not part of a log.
    #[error("`{file}` is not a segment of a log; move it away")]
    NotALog {
        /// The name of the file.
        file: String,
    },
    /// The bytes at a position are not those that were written there.
    #[error("the log is damaged at position {position}: {reason}")]
    Damaged {
        /// The position at which the damage begins.
        position: Position,
        /// The position at which reading can continue, if there is one.
        resume: Option<Position>,
        /// The kind of damage.
        reason: &'static str,
    },
}

impl LogError {
    pub(crate) fn io(doing: &'static str, file: &str) -> impl FnOnce(io::Error) -> Self {
        let file = file.to_owned();
        move |source| Self::Io { doing, file, source }
    }
}
