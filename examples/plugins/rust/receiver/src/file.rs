//! Lines in a file, each message once.

use std::collections::{HashSet, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The number of remembered ids. Messages that are delivered again were in flight when a call was cancelled, or were delivered in
/// about a second before the process was killed, which are fewer than this.
const RECENT: usize = 1 << 17;

/// A line, and the id of its message.
pub struct Line {
    pub id: u128,
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

/// The ids of the last lines.
#[derive(Default)]
struct Recent {
    order: VecDeque<u128>,
    ids: HashSet<u128>,
    /// The greatest of the others.
    floor: u128,
}

impl Recent {
    fn note(&mut self, id: u128) {
        if self.order.len() == RECENT
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
            self.floor = self.floor.max(oldest);
        }
        self.ids.insert(id);
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
            if !held.contains(&line.id) {
                text.extend(line.text);
                text.push(b'\n');
                written.push(line.id);
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

    /// Returns the stored ones of these. The file is read only for those that can be older than the remembered ids.
    fn held(&self, lines: &[Line]) -> io::Result<HashSet<u128>> {
        let Recent { ids, floor, .. } = &self.recent;
        let all: HashSet<_> = lines.iter().map(|line| line.id).collect();
        let (mut held, others): (HashSet<_>, HashSet<_>) =
            all.into_iter().partition(|id| ids.contains(id));
        let mut unsure: HashSet<_> = others.into_iter().filter(|id| id <= floor).collect();
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

/// The number that a UUID stands for.
fn number(uuid: &str) -> Option<u128> {
    u128::from_str_radix(&uuid.replace('-', ""), 16).ok()
}

/// Passes the ids of a file to `see` until it returns false; returns the end of the complete lines read.
fn each_id(path: &Path, mut see: impl FnMut(u128) -> bool) -> io::Result<u64> {
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
        // A line of another program is left unchanged.
        let known = serde_json::from_slice::<Known>(&line).ok();
        let id = known.and_then(|known| number(&known.message_id));
        if id.is_some_and(|id| !see(id)) {
            return Ok(whole);
        }
    }
}
