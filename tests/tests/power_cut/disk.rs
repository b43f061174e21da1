//! A disk that keeps what was synced, and of everything else whatever it likes.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::record::Step;

/// The unit that a disk writes completely or not at all.
const SECTOR: usize = 512;

/// The content of a directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    File(usize),
    Directory,
}

/// A change that is not synced.
#[derive(Debug)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Cut(usize),
}

#[derive(Debug, Default)]
struct Content {
    durable: Vec<u8>,
    pending: Vec<Change>,
}

/// Names that change together.
type Names = Vec<(String, Option<Node>)>;

#[derive(Debug, Default)]
struct Directory {
    durable: BTreeMap<String, Node>,
    pending: Vec<Names>,
}

/// The disk, as far as it is below one directory.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    files: Vec<Content>,
    /// The files that are there by the numbers that the system knows them by now.
    by_number: HashMap<u64, usize>,
    /// By their paths.
    directories: BTreeMap<String, Directory>,
}

/// The choice of the data that survives a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Everything, synced or not.
    All,
    /// No more than what was synced.
    Synced,
    /// The synced data, and a random part of the rest: each file and directory by itself; writes and names in any order,
    /// sectors torn.
    Chance,
}

impl Disk {
    /// The content of this directory, all of it synced.
    pub(crate) fn of(root: &Path) -> Self {
        let mut disk = Self::default();
        disk.read(root, "");
        disk
    }

    fn read(&mut self, root: &Path, name: &str) {
        let mut directory = Directory::default();
        for entry in fs::read_dir(root.join(name)).unwrap() {
            let entry = entry.unwrap();
            let own = entry.file_name().into_string().unwrap();
            let path = join(name, &own);
            let node = if entry.file_type().unwrap().is_dir() {
                self.read(root, &path);
                Node::Directory
            } else {
                let file = self.new_file(entry.metadata().unwrap().ino());
                self.files[file].durable = fs::read(entry.path()).unwrap();
                Node::File(file)
            };
            directory.durable.insert(own, node);
        }
        self.directories.insert(name.to_owned(), directory);
    }

    fn new_file(&mut self, number: u64) -> usize {
        self.files.push(Content::default());
        let file = self.files.len() - 1;
        // A number is given again once nothing has the file any more.
        self.by_number.insert(number, file);
        file
    }

    /// Does what the program did.
    pub(crate) fn apply(&mut self, step: &Step) {
        match step {
            Step::Opened { file, name } => {
                let node = Node::File(self.by_number[file]);
                // Renamed by a call that is not recorded.
                if self.node(name) != Some(node) {
                    self.name(name, Some(node));
                }
            }
            Step::Created { file, name } => {
                let file = self.new_file(*file);
                self.name(name, Some(Node::File(file)));
            }
            Step::Written { file, at, bytes } => {
                let change = Change::Write { at: *at, bytes: bytes.clone() };
                self.file(*file).pending.push(change);
            }
            Step::Cut { file, len } => self.file(*file).pending.push(Change::Cut(*len)),
            Step::Synced { file } => self.file(*file).sync(),
            Step::Unlinked { name } => self.name(name, None),
            Step::Renamed { from, to } => {
                let node = self.node(from).unwrap();
                let (above, from) = split(from);
                let (other, to) = split(to);
                assert_eq!(above, other, "nothing is moved to another directory");
                let names = vec![(from.to_owned(), None), (to.to_owned(), Some(node))];
                self.directory(above).pending.push(names);
            }
            Step::Linked { from, to } => {
                let node = self.node(from);
                self.name(to, node);
            }
            Step::Directory { name } => {
                self.directories.insert(name.clone(), Directory::default());
                self.name(name, Some(Node::Directory));
            }
            Step::SyncedDirectory { name, entries } => self.sync_directory(name, entries),
        }
    }

    fn file(&mut self, number: u64) -> &mut Content {
        &mut self.files[self.by_number[&number]]
    }

    fn directory(&mut self, name: &str) -> &mut Directory {
        self.directories.get_mut(name).unwrap()
    }

    fn node(&self, path: &str) -> Option<Node> {
        let (above, name) = split(path);
        self.directories[above].now().get(name).copied()
    }

    fn name(&mut self, path: &str, node: Option<Node>) {
        let (above, name) = split(path);
        self.directory(above).pending.push(vec![(name.to_owned(), node)]);
    }

    fn sync_directory(&mut self, name: &str, entries: &[(u64, String)]) {
        let is_directory = |own: &str| self.directories.contains_key(&join(name, own));
        let node = |(number, own): &(u64, String)| {
            let node = match self.by_number.get(number) {
                _ if is_directory(own) => Node::Directory,
                Some(file) => Node::File(*file),
                None => panic!("{name}/{own} was made by a call that is not recorded"),
            };
            (own.clone(), node)
        };
        let durable = entries.iter().map(node).collect();
        *self.directory(name) = Directory { durable, pending: Vec::new() };
    }

    /// Makes what a power cut leaves now in this directory, which is made.
    pub(crate) fn leave(&self, left: Left, root: &Path) {
        self.leave_directory(left, root, "");
    }

    fn leave_directory(&self, left: Left, root: &Path, name: &str) {
        DirBuilder::new().mode(0o700).create(root.join(name)).unwrap();
        for (own, node) in self.directories[name].left(left) {
            let path = join(name, &own);
            match node {
                Node::Directory => self.leave_directory(left, root, &path),
                Node::File(file) => {
                    let mut options = OpenOptions::new();
                    options.write(true).create_new(true).mode(0o600);
                    let mut made: File = options.open(root.join(path)).unwrap();
                    made.write_all(&self.files[file].left(left)).unwrap();
                }
            }
        }
    }
}

impl Content {
    fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            change.apply(&mut self.durable, |_| true);
        }
    }

    fn left(&self, left: Left) -> Vec<u8> {
        let fate = Fate::of(left, self.pending.len());
        let mut bytes = self.durable.clone();
        for (n, change) in self.pending.iter().enumerate() {
            match fate.of_change(n) {
                Kept::Whole => change.apply(&mut bytes, |_| true),
                Kept::Torn => change.apply(&mut bytes, |_| fastrand::bool()),
                Kept::Not => {}
            }
        }
        bytes
    }
}

impl Change {
    /// Applies it, as far as these sectors go.
    fn apply(&self, to: &mut Vec<u8>, keeps: impl Fn(usize) -> bool) {
        match self {
            Self::Cut(len) => to.resize(*len, 0),
            Self::Write { at, bytes } => {
                let mut begin = *at;
                while begin < at + bytes.len() {
                    let sector = begin / SECTOR;
                    let end = ((sector + 1) * SECTOR).min(at + bytes.len());
                    if keeps(sector) {
                        to.resize(to.len().max(end), 0);
                        to[begin..end].copy_from_slice(&bytes[begin - at..end - at]);
                    }
                    begin = end;
                }
            }
        }
    }
}

impl Directory {
    /// As the program sees it.
    fn now(&self) -> BTreeMap<String, Node> {
        self.left(Left::All)
    }

    fn left(&self, left: Left) -> BTreeMap<String, Node> {
        let fate = Fate::of(left, self.pending.len());
        let mut names = self.durable.clone();
        for (n, changes) in self.pending.iter().enumerate() {
            if fate.of_change(n) == Kept::Not {
                continue;
            }
            for (name, node) in changes {
                match node {
                    Some(node) => names.insert(name.clone(), *node),
                    None => names.remove(name),
                };
            }
        }
        names
    }
}

/// The fate of the changes of one file or directory.
enum Fate {
    /// So many are kept; the first that is not may be torn.
    First(usize),
    /// Each is kept or not, whatever becomes of the others.
    Each,
}

#[derive(PartialEq, Eq)]
enum Kept {
    Whole,
    Torn,
    Not,
}

impl Fate {
    fn of(left: Left, changes: usize) -> Self {
        match (left, fastrand::u8(..4)) {
            (Left::All, _) | (Left::Chance, 0) => Self::First(usize::MAX),
            (Left::Synced, _) => Self::First(0),
            (Left::Chance, 1 | 2) => Self::First(fastrand::usize(..=changes)),
            (Left::Chance, _) => Self::Each,
        }
    }

    fn of_change(&self, n: usize) -> Kept {
        match self {
            Self::First(kept) if n < *kept => Kept::Whole,
            Self::First(kept) if n == *kept && *kept > 0 => Kept::Torn,
            Self::First(_) => Kept::Not,
            Self::Each => match fastrand::u8(..3) {
                0 => Kept::Whole,
                1 => Kept::Torn,
                _ => Kept::Not,
            },
        }
    }
}

/// The directory of a path, and its name there.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn join(above: &str, name: &str) -> String {
    if above.is_empty() { name.to_owned() } else { format!("{above}/{name}") }
}
