//! The cursor of each receiver in the log, kept across restarts.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use poa_core::Timestamp;
use poa_core::files;

/// The position of a receiver, and its backlog there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// Everything before this position is confirmed.
    pub(crate) position: u64,
    /// Approximately the number of messages in the backlog. Exact again once the receiver has caught up.
    pub(crate) messages: usize,
    /// Approximately the bytes they take in memory.
    pub(crate) bytes: usize,
    /// The time at which the oldest of them was received, in microseconds since 1970; 0 if the backlog is empty.
    #[serde(default)]
    pub(crate) since: u64,
}

/// The cursors of all receivers, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursors {
    version: u32,
    cursors: BTreeMap<String, Cursor>,
    /// The position in the log at which the deduplication window begins.
    #[serde(default)]
    keys_from: u64,
    /// The time of the last generated id, in microseconds since 1970.
    #[serde(default)]
    last_id: u64,
    /// The position at which receivers without a cursor start, if known.
    #[serde(skip)]
    others: Option<Cursor>,
}

const VERSION: u32 = 1;

impl Cursors {
    pub(crate) fn new(
        cursors: BTreeMap<String, Cursor>,
        keys_from: u64,
        last_id: Timestamp,
    ) -> Self {
        Self { version: VERSION, cursors, keys_from, last_id: last_id.as_micros(), others: None }
    }

    pub(crate) fn get(&self, receiver: &str) -> Option<Cursor> {
        self.cursors.get(receiver).copied().or(self.others)
    }

    /// Whether every receiver of `new` is at the same position here.
    pub(crate) fn know(&self, new: &Self) -> bool {
        new.cursors.keys().all(|receiver| self.cursors.contains_key(receiver))
    }

    /// The backlogs of receivers other than these: their names, and approximately the number of messages.
    pub(crate) fn left_by_others(&self, receivers: &[&str]) -> Vec<(&str, usize)> {
        let others = self.cursors.iter().filter(|(name, _)| !receivers.contains(&name.as_str()));
        let waiting = others.filter(|(_, cursor)| cursor.messages > 0);
        waiting.map(|(name, cursor)| (name.as_str(), cursor.messages)).collect()
    }

    /// No receiver needs anything before this position.
    pub(crate) fn oldest(&self) -> u64 {
        let positions = self.cursors.values().map(|cursor| cursor.position);
        positions.fold(self.keys_from, u64::min)
    }

    pub(crate) fn keys_from(&self) -> u64 {
        self.keys_from
    }

    /// A lower bound of the time of the last id that was generated before `keys_from`.
    pub(crate) fn last_id(&self) -> Timestamp {
        Timestamp::from_micros(self.last_id)
    }
}

/// The backlogs in the log of this data directory of receivers other than these, which are discarded when a host starts without
/// them: their names, and approximately the number of messages.
///
/// # Errors
/// When there is a log whose state cannot be read.
pub fn left_behind(data_dir: &Path, receivers: &[&str]) -> io::Result<Vec<(String, usize)>> {
    let file = CursorFile::open(&data_dir.join("log"))?;
    let left = file.written().left_by_others(receivers);
    Ok(left.into_iter().map(|(name, messages)| (name.to_owned(), messages)).collect())
}

/// The file that keeps the cursors.
///
/// Space is released only after the cursors that no longer need it are durable, so a full disk must not prevent writing this file.
/// There are two files of the same length: one is overwritten and then takes the other's name.
#[derive(Debug)]
pub(crate) struct CursorFile {
    path: PathBuf,
    written: Cursors,
    is_there: bool,
    /// Whether the names of the two files are as durable as their content.
    names_synced: bool,
}

/// The length of the files is a multiple of this, so that changed cursors fit.
const BLOCK: usize = 4096;

impl CursorFile {
    /// Opens the file in this directory; without one, there are no cursors.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join("cursors.json");
        let (written, is_there) = match std::fs::read(&path) {
            Ok(bytes) => (parse(&bytes)?, true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (Cursors::default(), false),
            Err(error) => return Err(error),
        };
        if written.version > VERSION {
            return Err(io::Error::other("it was written by a newer version of this program"));
        }
        // A killed process may have left the names visible but not durable.
        Ok(Self { path, written, is_there, names_synced: false })
    }

    pub(crate) fn written(&self) -> &Cursors {
        &self.written
    }

    pub(crate) fn is_there(&self) -> bool {
        self.is_there
    }

    /// Every receiver starts with the oldest message.
    pub(crate) fn begin_at(&mut self, oldest: Cursor) {
        self.written.others = Some(oldest);
    }

    /// Replaces the file as a whole, if anything has changed. Returns whether it was replaced.
    pub(crate) fn write(&mut self, cursors: Cursors) -> io::Result<bool> {
        if cursors == self.written {
            return Ok(false);
        }
        // The file that is overwritten must not be the one that a power cut would leave.
        self.sync_names()?;
        let spare = self.path.with_extension("tmp");
        overwrite(&spare, &cursors)?;
        self.names_synced = false;
        exchange(&spare, &self.path)?;
        self.sync_names()?;
        if std::fs::metadata(&spare).map_or(true, |found| found.len() == 0) {
            // The next write has its space, however full the disk is by then.
            let _ = overwrite(&spare, &cursors);
        }
        (self.written, self.is_there) = (cursors, true);
        Ok(true)
    }

    fn sync_names(&mut self) -> io::Result<()> {
        if let Some(directory) = self.path.parent().filter(|_| !self.names_synced) {
            File::open(directory)?.sync_all()?;
        }
        self.names_synced = true;
        Ok(())
    }
}

fn parse(bytes: &[u8]) -> io::Result<Cursors> {
    serde_json::from_slice(bytes).map_err(|error| {
        let cure = "move it away, and every receiver starts with the oldest message in the log";
        io::Error::other(format!("it is damaged; {cure}: {error}"))
    })
}

/// Writes into the space that the file already has.
fn overwrite(path: &Path, cursors: &Cursors) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(cursors)?;
    bytes.resize(bytes.len().next_multiple_of(BLOCK), b'\n');
    let file = files::private().create(true).truncate(false).write(true).open(path)?;
    file.write_all_at(&bytes, 0)?;
    file.set_len(bytes.len() as u64)?;
    file.sync_all()
}

/// Gives the first file the name of the second, and the second that of the first if it exists and the file system supports that.
fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        if renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).is_ok() {
            return Ok(());
        }
    }
    std::fs::rename(one, other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursors(position: u64) -> Cursors {
        let cursor = Cursor { position, ..Cursor::default() };
        Cursors::new([("r".to_owned(), cursor)].into(), position, Timestamp::from_micros(0))
    }

    #[test]
    fn two_files_alternate_and_need_no_more_space() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = CursorFile::open(dir.path()).unwrap();
        assert!(!file.is_there());
        for position in 1..5 {
            assert!(file.write(cursors(position)).unwrap());
            let spare = std::fs::metadata(dir.path().join("cursors.tmp")).unwrap();
            assert_eq!(spare.len(), 4096, "the next write has its space already");
            assert!(!file.write(cursors(position)).unwrap(), "nothing has changed");
            let opened = CursorFile::open(dir.path()).unwrap();
            assert_eq!((opened.written(), opened.is_there()), (&cursors(position), true));
            file = opened;
        }
        let lengths: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .collect();
        assert_eq!(lengths, [4096, 4096]);
    }

    #[test]
    fn a_failed_write_leaves_the_file_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = CursorFile::open(dir.path()).unwrap();
        file.write(cursors(1)).unwrap();
        let spare = dir.path().join("cursors.tmp");
        std::fs::remove_file(&spare).unwrap();
        std::fs::create_dir(&spare).unwrap();
        assert!(file.write(cursors(2)).is_err());
        assert_eq!(CursorFile::open(dir.path()).unwrap().written(), &cursors(1));
        std::fs::remove_dir(&spare).unwrap();
        assert!(file.write(cursors(2)).unwrap());
    }

    #[test]
    fn a_damaged_file_is_refused_with_a_cure() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("cursors.json"), "{").unwrap();
        let error = CursorFile::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("move it away"), "{error}");
    }
}
