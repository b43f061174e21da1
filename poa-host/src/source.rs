//! Where a configuration comes from.

use std::path::{Path, PathBuf};

use poa_core::Registry;

use crate::{Config, Kinds, Problems};

/// Where a configuration comes from, and comes from again on a reload.
#[derive(Clone)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// A text of the program's own, under this name.
    Text {
        /// What problems call it.
        name: &'static str,
        /// The TOML itself.
        text: String,
    },
}

impl Source {
    /// Reads and checks the configuration, as it stands now.
    ///
    /// # Errors
    /// See [`Config::load`].
    pub fn load(&self, registry: &Registry) -> Result<Config, Problems> {
        match self {
            Self::File(path) => Config::load(path, registry),
            Self::Text { name, text } => Config::parse(text, Path::new(name), registry),
        }
    }

    /// The kinds that the configuration can use, as it stands now.
    ///
    /// # Errors
    /// See [`Config::kinds`]. A file that cannot be read is one, too.
    pub fn kinds(&self, registry: &Registry) -> Result<Kinds, Problems> {
        match self {
            Self::File(path) => Config::kinds(&Config::text_of(path)?, path, registry),
            Self::Text { name, text } => Config::kinds(text, Path::new(name), registry),
        }
    }
}

/// Names only: a text may hold secrets.
impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Text { name, .. } => write!(f, "Text({name})"),
        }
    }
}
