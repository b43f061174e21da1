//! The values that commands on data need.

use std::path::{Path, PathBuf};

use poa_dead_letters::DeadLetterStore;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::document::Part;
use super::path::KeyPath;
use super::top::{DeadLetters, Top};
use super::walk::Found;

/// The part of a configuration that commands on data need: the data directory, and the names of receivers and data types. Reading it
/// needs no secrets, and checks no other part of the configuration.
#[derive(Clone, Debug)]
pub struct Outline {
    configuration: PathBuf,
    data_dir: PathBuf,
    dead_letters: DeadLetters,
    metrics: Vec<String>,
    receivers: Vec<String>,
    libraries: bool,
}

/// The values that are read.
const NEEDED: [&[&str]; 2] = [&["data_dir"], &["dead_letters"]];

/// Whether the value at this path is one of those that are read.
pub(super) fn needs(path: &KeyPath) -> bool {
    NEEDED.iter().any(|needed| path.iter().map(String::as_str).zip(*needed).all(|(a, b)| a == *b))
}

impl Outline {
    /// Reads the values of a whole document.
    pub(super) fn read(root: &Value, named: &Path) -> Result<Self, Found> {
        let texts = |value: &Value| -> Vec<String> {
            let items = value.as_array().into_iter().flatten();
            items.filter_map(|item| item.as_str().map(str::to_owned)).collect()
        };
        let receivers = root["receivers"].as_object().into_iter().flatten();
        Ok(Self {
            configuration: named.to_owned(),
            data_dir: value(root, &["data_dir"])?.unwrap_or_else(Top::default_data_dir),
            dead_letters: value(root, &["dead_letters", "max_bytes"])?
                .map_or_else(DeadLetters::default, |max_bytes| DeadLetters { max_bytes }),
            metrics: texts(&root["metrics"]),
            receivers: receivers.map(|(name, _)| name.clone()).collect(),
            libraries: root["plugins"].as_array().is_some_and(|all| !all.is_empty()),
        })
    }

    /// The same for another data directory.
    #[must_use]
    pub fn in_dir(mut self, data_dir: impl Into<PathBuf>) -> Self {
        self.data_dir = data_dir.into();
        self
    }

    /// The file or directory that was read, or the name of the text.
    #[must_use]
    pub fn configuration(&self) -> &Path {
        &self.configuration
    }

    /// The directory for everything the server writes.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The data types that are accepted.
    pub fn metrics(&self) -> impl Iterator<Item = &str> {
        self.metrics.iter().map(String::as_str)
    }

    /// The names of the receivers.
    pub fn receivers(&self) -> impl Iterator<Item = &str> {
        self.receivers.iter().map(String::as_str)
    }

    pub(crate) fn names_libraries(&self) -> bool {
        self.libraries
    }

    /// Opens the store of dead letters in the data directory, which must exist.
    ///
    /// # Errors
    /// When its file cannot be used.
    pub fn open_dead_letters(&self) -> Result<DeadLetterStore, poa_dead_letters::OpenError> {
        let file = self.data_dir.join("dead_letters.db");
        DeadLetterStore::open(file, self.dead_letters.max_bytes.get())
    }
}

/// The value at `path`, if it is written.
fn value<T: DeserializeOwned>(root: &Value, path: &[&str]) -> Result<Option<T>, Found> {
    let found = path.iter().try_fold(root, |value, key| value.get(key));
    let Some(found) = found else { return Ok(None) };
    T::deserialize(found).map(Some).map_err(|error| Found {
        path: path.iter().map(|key| (*key).to_owned()).collect(),
        part: Part::Value,
        message: error.to_string(),
    })
}
