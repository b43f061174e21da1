//! A directory of a server's own.

use std::io;
use std::path::{Path, PathBuf};

/// A new directory, removed when this is dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes one, named after what it is for.
    pub(crate) fn new(name: &str) -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("poa-{name}-{}", std::process::id()));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A leftover in the directory for temporary files harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
