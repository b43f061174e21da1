use std::io;

use crate::Position;

/// Why the log could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The storage failed: no room, no permission, a fault of the disk.
    #[error("cannot {doing} `{file}`")]
    Io {
        /// What was to be done.
        doing: &'static str,
        /// The file it was to be done with.
        file: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file was written by another version of this format.
    #[error(
        "`{file}` has format {found}, and this program knows format {known}; use the program that wrote it"
    )]
    UnknownFormat {
        /// The file.
        file: String,
        /// The version it has.
        found: u32,
        /// The version known here.
        known: u32,
    },
    /// A file in the log's directory is no part of a log.
    #[error("`{file}` is no segment of a log; move it away")]
    NotALog {
        /// The file.
        file: String,
    },
    /// What stands at a position is not what was written there.
    #[error("the log is damaged at position {position}: {reason}")]
    Damaged {
        /// Where the damage begins.
        position: Position,
        /// Where reading can go on, if anywhere.
        resume: Option<Position>,
        /// What is wrong.
        reason: &'static str,
    },
}

impl LogError {
    pub(crate) fn io(doing: &'static str, file: &str) -> impl FnOnce(io::Error) -> Self {
        let file = file.to_owned();
        move |source| Self::Io { doing, file, source }
    }
}
