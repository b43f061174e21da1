//! The shared libraries that a configuration names.

use std::path::Path;

use poa_core::Registry;
use poa_plugin::host::Library;
use serde_json::Value;

use crate::config::{Found, Part};

/// Refuses a library that any user of the machine can write, so that a check does not run code that others put there.
pub(crate) fn only_owners_write(file: &Path) -> Result<(), String> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(file).map_or(0, |about| about.permissions().mode());
        if mode & 0o002 != 0 {
            return Err(format!(
                "{} can be written by every user of this machine, so it is not loaded; run `chmod o-w` on it",
                file.display()
            ));
        }
    }
    Ok(())
}

/// The kinds of handlers and receivers that a configuration can use.
#[derive(Debug)]
pub struct Kinds {
    /// All of them: compiled in, and loaded.
    pub registry: Registry,
    /// The libraries that were loaded.
    pub libraries: Vec<Library>,
}

impl Kinds {
    /// Loads the libraries under `[[plugins]]` of a whole document, relative to `dir`. A library that cannot be loaded is
    /// reported at its position, and left out.
    pub(crate) fn load(
        document: &Value,
        dir: &Path,
        registry: &Registry,
        refuse: impl Fn(&Path) -> Result<(), String>,
    ) -> (Self, Vec<Found>) {
        let mut kinds = Self { registry: registry.clone(), libraries: Vec::new() };
        let mut found = Vec::new();
        let entries = document["plugins"].as_array().into_iter().flatten().enumerate();
        for (index, file) in
            entries.filter_map(|(index, entry)| Some((index, entry["path"].as_str()?)))
        {
            let path = vec!["plugins".to_owned(), index.to_string(), "path".to_owned()];
            let file = dir.join(file);
            if let Err(message) = refuse(&file).and_then(|()| kinds.add(&file)) {
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
                "{}: {} kind `{}` exists already{}; remove one of the two, or build one with another name",
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

    /// The library that a kind comes from.
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
