//! The shared libraries that a configuration names.

use std::path::Path;

use poa_core::Registry;
use poa_plugin::host::Library;
use serde_json::Value;

use crate::config::{Found, Part};

/// The kinds of handlers and receivers that a configuration can use.
#[derive(Debug)]
pub struct Kinds {
    /// All of them: compiled in, and loaded.
    pub registry: Registry,
    /// What was loaded, and from where.
    pub libraries: Vec<Library>,
}

impl Kinds {
    /// Loads the libraries under `[[plugins]]` of a whole document, relative to `dir`. What cannot be loaded is reported at
    /// its place, and left out.
    pub(crate) fn load(document: &Value, dir: &Path, registry: &Registry) -> (Self, Vec<Found>) {
        let mut kinds = Self { registry: registry.clone(), libraries: Vec::new() };
        let mut found = Vec::new();
        let entries = document["plugins"].as_array().into_iter().flatten().enumerate();
        for (index, file) in
            entries.filter_map(|(index, entry)| Some((index, entry["path"].as_str()?)))
        {
            let path = vec!["plugins".to_owned(), index.to_string(), "path".to_owned()];
            if let Err(message) = kinds.add(&dir.join(file)) {
                found.push(Found { path, part: Part::Value, message });
            }
        }
        (kinds, found)
    }

    fn add(&mut self, file: &Path) -> Result<(), String> {
        let library = Library::load(file).map_err(|error| error.to_string())?;
        let registry = library.register(self.registry.clone());
        let known = self.registry.duplicates().len();
        if let Some(twice) = registry.duplicates().get(known) {
            return Err(format!(
                "{}: {} kind `{}` is there already{}; remove one of the two, or build one with another name",
                file.display(),
                twice.role,
                twice.kind,
                self.origin(&twice.kind, twice.role),
            ));
        }
        self.registry = registry;
        self.libraries.push(library);
        Ok(())
    }

    /// Where a kind that was loaded comes from.
    fn origin(&self, kind: &str, role: &str) -> String {
        let offers = |library: &&Library| {
            let mut kinds = library.info().kinds.iter();
            kinds.any(|other| other.name == kind && other.role.to_string() == role)
        };
        let library = self.libraries.iter().find(offers);
        library.map_or_else(
            || ", compiled in".to_owned(),
            |library| format!(", from {}", library.file().display()),
        )
    }
}
