//! How far each receiver has come in the log, kept across restarts.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use poa_core::Timestamp;
use poa_core::files;

/// Where a receiver goes on, and what waits for it there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// Everything before this position is done with.
    pub(crate) position: u64,
    /// About how many messages wait. Exact again once the receiver has caught up.
    pub(crate) messages: usize,
    /// About how many bytes they take in memory.
    pub(crate) bytes: usize,
    /// When the first of them was received, in microseconds since 1970; 0 when nothing waits.
    #[serde(default)]
    pub(crate) since: u64,
}

/// The cursors of all receivers, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursors {
    version: u32,
    cursors: BTreeMap<String, Cursor>,
    /// Where in the log the messages begin whose idempotency keys are remembered.
    #[serde(default)]
    keys_from: u64,
    /// The time of the last id that was made, in microseconds since 1970.
    #[serde(default)]
    last_id: u64,
    /// Where receivers begin that are not among these, if that is known.
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

    /// Whether every receiver of `new` stands here as well.
    pub(crate) fn know(&self, new: &Self) -> bool {
        new.cursors.keys().all(|receiver| self.cursors.contains_key(receiver))
    }

    /// What waits for receivers other than these: their names, and about how many messages.
    pub(crate) fn left_by_others(&self, receivers: &[&str]) -> Vec<(&str, usize)> {
        let others = self.cursors.iter().filter(|(name, _)| !receivers.contains(&name.as_str()));
        let waiting = others.filter(|(_, cursor)| cursor.messages > 0);
        waiting.map(|(name, cursor)| (name.as_str(), cursor.messages)).collect()
    }

    /// What lies before this position is needed by nobody.
    pub(crate) fn oldest(&self) -> u64 {
        let positions = self.cursors.values().map(|cursor| cursor.position);
        positions.fold(self.keys_from, u64::min)
    }

    pub(crate) fn keys_from(&self) -> u64 {
        self.keys_from
    }

    /// The time of the last id that was made before `keys_from`, at least.
    pub(crate) fn last_id(&self) -> Timestamp {
        Timestamp::from_micros(self.last_id)
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
///
/// Space is only given back once it is on the disk that nobody needs it, so a full disk must not keep this file from being written.
/// There are two files of the same length, of which one is written over and then takes the other's name.
#[derive(Debug)]
pub(crate) struct CursorFile {
    path: PathBuf,
    written: Cursors,
    is_there: bool,
    /// Whether the names of the two files are as durable as what stands in them.
    names_synced: bool,
}

/// The files are as long as a whole number of these, so that other cursors take no more room.
const BLOCK: usize = 4096;

impl CursorFile {
    /// Opens the file in this directory; without one, nobody has come anywhere.
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
        // A process that was killed may have left the names as they are for itself alone.
        Ok(Self { path, written, is_there, names_synced: false })
    }

    pub(crate) fn written(&self) -> &Cursors {
        &self.written
    }

    pub(crate) fn is_there(&self) -> bool {
        self.is_there
    }

    /// Every receiver begins with the oldest message there is.
    pub(crate) fn begin_at(&mut self, oldest: Cursor) {
        self.written.others = Some(oldest);
    }

    /// Replaces the file, whole or not at all, if anything has changed. True if it was replaced.
    pub(crate) fn write(&mut self, cursors: Cursors) -> io::Result<bool> {
        if cursors == self.written {
            return Ok(false);
        }
        // The file that is written over must not be the one that a power cut would leave.
        self.sync_names()?;
        let spare = self.path.with_extension("tmp");
        overwrite(&spare, &cursors)?;
        self.names_synced = false;
        exchange(&spare, &self.path)?;
        self.sync_names()?;
        if std::fs::metadata(&spare).map_or(true, |found| found.len() == 0) {
            // The next one finds its room, however full the disk is by then.
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
        let cure = "move it away, and every receiver begins with the oldest message that is kept";
        io::Error::other(format!("it is damaged; {cure}: {error}"))
    })
}

/// Writes into the room that the file has already.
fn overwrite(path: &Path, cursors: &Cursors) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(cursors)?;
    bytes.resize(bytes.len().next_multiple_of(BLOCK), b'\n');
    let file = files::private().create(true).truncate(false).write(true).open(path)?;
    file.write_all_at(&bytes, 0)?;
    file.set_len(bytes.len() as u64)?;
    file.sync_all()
}

/// Gives the first file the name of the second, and the other way round if there is a second and the file system can do that.
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
    fn two_files_take_turns_and_need_no_more_room() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = CursorFile::open(dir.path()).unwrap();
        assert!(!file.is_there());
        for position in 1..5 {
            assert!(file.write(cursors(position)).unwrap());
            let spare = std::fs::metadata(dir.path().join("cursors.tmp")).unwrap();
            assert_eq!(spare.len(), 4096, "the next one has its room already");
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
    fn what_could_not_be_written_leaves_the_file_as_it_was() {
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
