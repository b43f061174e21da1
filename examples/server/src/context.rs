//! Everything that all commands have in common.

use std::fmt::Display;
use std::path::Path;

use poa_host::{Outline, Source};

use crate::cli::Place;
use crate::embedded;
use crate::failure::Failure;
use crate::logs::Logs;

/// The chosen configuration, and the log output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    pub(crate) config: Option<&'a Path>,
    pub(crate) logs: &'a Logs,
}

impl Context<'_> {
    /// The file that was named, else `./poa.toml`, else the built-in configuration.
    pub(crate) fn source(self) -> Source {
        embedded::source(self.config)
    }

    /// Prints a line on stderr, for people, while scripts read stdout.
    pub(crate) fn aside(self, line: impl Display) {
        self.logs.say("INFO", &line.to_string());
    }

    /// Prints a warning on stderr.
    pub(crate) fn warn(self, line: impl Display) {
        self.logs.say("WARN", &format!("warning: {line}"));
    }

    /// Finds the data directory, and prints which one it is. It must exist: a command creates none.
    ///
    /// # Errors
    /// When the configuration cannot be read, or there is no such directory.
    pub(crate) fn data(self, place: &Place) -> Result<Outline, Failure> {
        let outline = self.source().outline()?;
        let outline = match &place.data_dir {
            Some(dir) => outline.in_dir(dir),
            None => outline,
        };
        let (dir, configuration) =
            (outline.data_dir().display(), outline.configuration().display());
        if !outline.data_dir().is_dir() {
            return Err(Failure::because(format_args!(
                "there is no data directory {dir} ({configuration}); start the server once, or name another with --data-dir"
            )));
        }
        self.aside(format_args!("data directory {dir} ({configuration})"));
        Ok(outline)
    }
}
