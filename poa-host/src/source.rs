//! Sources of configurations.

use std::path::{Path, PathBuf};

use poa_core::Registry;

use crate::config::Files;
use crate::graph::{GraphFormat, draw};
use crate::{CheckOptions, Checked, Config, Kinds, Outline, Problems};

/// The source of a configuration, which a reload reads again.
#[derive(Clone)]
pub enum Source {
    /// A file, or a directory whose files that end in `.toml` are read as one.
    File(PathBuf),
    /// A text supplied by the program, under this name.
    Text {
        /// Its name in problems.
        name: &'static str,
        /// The TOML itself.
        text: String,
    },
}

impl Source {
    /// Reads and checks the current configuration.
    ///
    /// # Errors
    /// See [`Config::load`].
    pub fn load(&self, registry: &Registry) -> Result<Config, Problems> {
        let options = CheckOptions { environment: false, ..CheckOptions::default() };
        Ok(self.check(registry, options)?.config)
    }

    /// Reads and checks the current configuration, to the given depth.
    ///
    /// # Errors
    /// Every problem. See [`Config::load`].
    ///
    /// # Panics
    /// With `environment`, outside a tokio runtime.
    pub fn check(&self, registry: &Registry, options: CheckOptions) -> Result<Checked, Problems> {
        Config::check(&self.files()?, registry, options)
    }

    /// The kinds that the configuration can use: those of `registry`, and those of the libraries that it names. Nothing else in
    /// it is checked.
    ///
    /// # Errors
    /// When it cannot be read, is not TOML, or a library cannot be loaded.
    pub fn kinds(&self, registry: &Registry) -> Result<Kinds, Problems> {
        Config::kinds(&self.files()?, registry)
    }

    /// The values that commands on data need. Nothing else is checked, and no secrets are needed.
    ///
    /// # Errors
    /// When it cannot be read, is not TOML, or one of these values is wrong.
    pub fn outline(&self) -> Result<Outline, Problems> {
        Config::outline(&self.files()?)
    }

    /// A diagram of the configuration. Nothing is checked, and no secret is needed.
    ///
    /// # Errors
    /// When it cannot be read, or is not TOML.
    pub fn graph(&self, format: GraphFormat) -> Result<String, Problems> {
        Ok(draw(&Config::sketch(&self.files()?)?, format))
    }

    /// Whether the configuration has a `[[plugins]]` section, as far as it can be read.
    #[must_use]
    pub fn names_libraries(&self) -> bool {
        self.outline().is_ok_and(|outline| outline.names_libraries())
    }

    fn files(&self) -> Result<Files, Problems> {
        match self {
            Self::File(path) => Files::read(path),
            Self::Text { name, text } => Ok(Files::of_text(text, Path::new(name))),
        }
    }
}

/// Its name in problems.
impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Text { name, .. } => f.write_str(name),
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
