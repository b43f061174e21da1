//! Lines in a file, each message once.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// What may come again was in hand when a call was broken off, which is far less than this, or was delivered in the second before a
/// process was killed. Whatever else comes is looked up in the file.
const RECENT: usize = 4096;

/// A line, and the id of its message.
pub struct Line {
    pub message_id: String,
    pub text: Vec<u8>,
}

/// A file of lines. While it is open, no other instance has it.
pub struct Lines {
    path: PathBuf,
    file: File,
    /// How much of it is whole lines, which are on the disk.
    length: u64,
    recent: Recent,
}

/// The ids written last, and the greatest of all.
#[derive(Default)]
struct Recent {
    order: VecDeque<String>,
    ids: BTreeSet<String>,
    greatest: String,
}

impl Recent {
    fn note(&mut self, id: String) {
        if id > self.greatest {
            self.greatest.clone_from(&id);
        }
        if self.order.len() == RECENT
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        self.ids.insert(id.clone());
        self.order.push_back(id);
    }
}

impl Lines {
    /// Opens the file, makes it if need be, and waits for an instance that still writes. A line that was cut by a crash goes: its
    /// message comes again.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        file.lock()?;
        let mut recent = Recent::default();
        let whole = each_id(path, |id| {
            recent.note(id);
            true
        })?;
        Ok(Self { path: path.to_owned(), file, length: whole, recent })
    }

    /// Appends those that are not there yet: all of them, or none. How many these were.
    pub fn append(&mut self, lines: Vec<Line>) -> io::Result<usize> {
        let mut text = Vec::new();
        let mut written = Vec::new();
        let held = self.held(&lines)?;
        for line in lines {
            if !held.contains(&line.message_id) {
                text.extend(line.text);
                text.push(b'\n');
                written.push(line.message_id);
            }
        }
        if text.is_empty() {
            return Ok(0);
        }
        // What is left of a line that could not be written to its end, now or before a crash, must not begin another one.
        self.file.set_len(self.length)?;
        let appended = self.file.write_all(&text).and_then(|()| self.file.sync_data());
        if let Err(error) = appended {
            self.file.set_len(self.length)?;
            return Err(error);
        }
        self.length += text.len() as u64;
        let count = written.len();
        written.into_iter().for_each(|id| self.recent.note(id));
        Ok(count)
    }

    /// Which of these are there. Ids grow, so for most of them no look is needed; for all others together, the file is read once.
    fn held(&self, lines: &[Line]) -> io::Result<BTreeSet<String>> {
        let old =
            lines.iter().map(|line| &line.message_id).filter(|id| **id <= self.recent.greatest);
        let (mut held, mut unsure): (BTreeSet<_>, BTreeSet<_>) =
            old.cloned().partition(|id| self.recent.ids.contains(id));
        if !unsure.is_empty() {
            each_id(&self.path, |id| {
                if unsure.remove(&id) {
                    held.insert(id);
                }
                !unsure.is_empty()
            })?;
        }
        Ok(held)
    }
}

/// Shows the ids of a file until somebody has seen enough; where the whole lines that were read end.
fn each_id(path: &Path, mut see: impl FnMut(String) -> bool) -> io::Result<u64> {
    #[derive(Deserialize)]
    struct Known {
        message_id: String,
    }
    let mut reader = BufReader::new(File::open(path)?);
    let (mut line, mut whole) = (Vec::new(), 0);
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\n") {
            return Ok(whole);
        }
        whole += read as u64;
        // A line of somebody else is left as it is.
        let known = serde_json::from_slice::<Known>(&line);
        if known.is_ok_and(|known| !see(known.message_id)) {
            return Ok(whole);
        }
    }
}
