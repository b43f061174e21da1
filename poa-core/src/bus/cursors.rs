//! How far each receiver has come in the log, kept across restarts.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::commit::own_file;

/// Where a receiver goes on, and what waits for it there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// Everything before this position is done with.
    pub(super) position: u64,
    /// About how many messages wait. Exact again once the receiver has caught up.
    pub(super) messages: usize,
    /// About how many bytes they take in memory.
    pub(super) bytes: usize,
}

/// The cursors of all receivers, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursors {
    version: u32,
    cursors: BTreeMap<String, Cursor>,
    /// Where in the log the messages begin whose idempotency keys are remembered.
    #[serde(default)]
    keys_from: u64,
}

const VERSION: u32 = 1;

impl Cursors {
    pub(super) fn new(cursors: BTreeMap<String, Cursor>, keys_from: u64) -> Self {
        Self { version: VERSION, cursors, keys_from }
    }

    pub(crate) fn get(&self, receiver: &str) -> Option<Cursor> {
        self.cursors.get(receiver).copied()
    }

    /// What waits for receivers other than these: their names, and about how many messages.
    pub(super) fn left_by_others(&self, receivers: &[&str]) -> Vec<(&str, usize)> {
        let others = self.cursors.iter().filter(|(name, _)| !receivers.contains(&name.as_str()));
        let waiting = others.filter(|(_, cursor)| cursor.messages > 0);
        waiting.map(|(name, cursor)| (name.as_str(), cursor.messages)).collect()
    }

    /// What lies before this position is needed by nobody.
    pub(super) fn oldest(&self) -> u64 {
        let positions = self.cursors.values().map(|cursor| cursor.position);
        positions.fold(self.keys_from, u64::min)
    }

    pub(super) fn keys_from(&self) -> u64 {
        self.keys_from
    }
}

/// What waits in the log of this data directory for receivers other than these, which is given up when a host starts without them:
/// their names, and about how many messages.
///
/// # Errors
/// When there is a log whose state cannot be read.
pub fn left_behind(data_dir: &Path, receivers: &[&str]) -> io::Result<Vec<(String, usize)>> {
    let file = CursorFile::open(&data_dir.join("log"))?;
    let left = file.written().left_by_others(receivers);
    Ok(left.into_iter().map(|(name, messages)| (name.to_owned(), messages)).collect())
}

/// The file the cursors are kept in.
#[derive(Debug)]
pub(super) struct CursorFile {
    path: PathBuf,
    written: Cursors,
}

impl CursorFile {
    /// Opens the file in this directory; without one, nobody has come anywhere.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join("cursors.json");
        let written = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Cursors::default(),
            Err(error) => return Err(error),
        };
        if written.version > VERSION {
            return Err(io::Error::other("it was written by a newer version of this program"));
        }
        Ok(Self { path, written })
    }

    pub(super) fn written(&self) -> &Cursors {
        &self.written
    }

    /// Replaces the file, whole or not at all, if anything has changed. True if it was replaced.
    pub(super) fn write(&mut self, cursors: Cursors) -> io::Result<bool> {
        if cursors == self.written {
            return Ok(false);
        }
        let temporary = self.path.with_extension("tmp");
        let mut file = own_file(&temporary)?;
        file.write_all(&serde_json::to_vec(&cursors)?)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &self.path)?;
        if let Some(directory) = self.path.parent() {
            File::open(directory)?.sync_all()?;
        }
        self.written = cursors;
        Ok(true)
    }
}
