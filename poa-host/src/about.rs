//! The program around a server.

use poa_core::Timestamp;

use crate::logging::LogCounts;

/// The program around a server, as the admin listener shows it: version, start time, and the counts of its log output.
#[derive(Clone, Debug)]
pub struct About {
    version: &'static str,
    commit: &'static str,
    started_at: Timestamp,
    log: Option<LogCounts>,
}

impl Default for About {
    /// This version of the crate, from an unknown commit, started now.
    fn default() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            commit: "unknown",
            started_at: Timestamp::now(),
            log: None,
        }
    }
}

impl About {
    /// A program of this version, built from this commit.
    #[must_use]
    pub fn new(version: &'static str, commit: &'static str) -> Self {
        Self { version, commit, ..Self::default() }
    }

    /// The same with the counts of its log.
    #[must_use]
    pub fn log(mut self, counts: LogCounts) -> Self {
        self.log = Some(counts);
        self
    }

    /// The version of the program.
    #[must_use]
    pub fn version(&self) -> &'static str {
        self.version
    }

    /// The commit the program was built from, or `unknown`.
    #[must_use]
    pub fn commit(&self) -> &'static str {
        self.commit
    }

    pub(crate) fn started_at(&self) -> Timestamp {
        self.started_at
    }

    pub(crate) fn log_counts(&self) -> Option<&LogCounts> {
        self.log.as_ref()
    }
}
