//! The power goes at any moment. What was acknowledged stays, and nothing else appears.
//!
//! The storage here keeps what was synced, and of what was not an arbitrary part: a prefix, nothing, or torn sectors.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall panic")]

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use poa_log::storage::{ReadAt, Storage, WriteAt};
use poa_log::{Group, Log, LogError, Options, Position};
use proptest::prelude::*;

/// A disk whose power can be cut, and which can fail.
#[derive(Clone, Default)]
struct Disk(Arc<Mutex<State>>);

#[derive(Clone, Default)]
struct State {
    files: BTreeMap<String, Contents>,
    /// Names that a crash cannot take away.
    durable_names: BTreeMap<String, ()>,
    /// Bytes that still fit.
    room: Option<usize>,
    /// The next sync fails.
    fail_sync: bool,
}

#[derive(Clone, Default)]
struct Contents {
    bytes: Vec<u8>,
    synced: Vec<u8>,
    /// What was done to the file since it was synced.
    unsynced: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Cut(usize),
}

/// Writes these bytes; what lies between the end and their beginning is zeros.
fn write_at(contents: &mut Vec<u8>, bytes: &[u8], offset: usize) {
    let end = offset + bytes.len();
    if contents.len() < end {
        contents.resize(end, 0);
    }
    contents[offset..end].copy_from_slice(bytes);
}

struct Handle {
    disk: Disk,
    name: String,
}

impl Disk {
    fn with<T>(&self, name: &str, f: impl FnOnce(&mut Contents) -> T) -> io::Result<T> {
        let mut state = self.0.lock().unwrap();
        state.files.get_mut(name).map(f).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn handle(&self, name: &str) -> io::Result<Handle> {
        self.with(name, |_| ())?;
        Ok(Handle { disk: self.clone(), name: name.to_owned() })
    }

    /// What is left after the power went: `luck` decides how much of what was not synced reached the disk.
    fn cut_power(&self, luck: &[u8]) -> Disk {
        let state = self.0.lock().unwrap();
        let mut luck = luck.iter().copied().cycle();
        let mut files = BTreeMap::new();
        for (name, contents) in &state.files {
            let named = state.durable_names.contains_key(name) || luck.next().unwrap() % 2 == 0;
            if named {
                let left = survivor(contents, &mut luck);
                let contents = Contents { synced: left.clone(), bytes: left, unsynced: Vec::new() };
                files.insert(name.clone(), contents);
            }
        }
        let durable_names = files.keys().map(|name| (name.clone(), ())).collect();
        Disk(Arc::new(Mutex::new(State { files, durable_names, ..State::default() })))
    }
}

/// What was synced, and of what was done since then any part: sectors in any order, some or none.
fn survivor(contents: &Contents, luck: &mut impl Iterator<Item = u8>) -> Vec<u8> {
    const SECTOR: usize = 16;
    let mut left = contents.synced.clone();
    for change in &contents.unsynced {
        match change {
            Change::Cut(len) if luck.next().unwrap() < 128 => left.truncate(*len),
            Change::Cut(_) => {}
            Change::Write { offset, bytes } => {
                let reached = bytes.len() * usize::from(luck.next().unwrap()) / 255;
                for (n, sector) in bytes[..reached].chunks(SECTOR).enumerate() {
                    if luck.next().unwrap() < 192 {
                        write_at(&mut left, sector, offset + n * SECTOR);
                    }
                }
            }
        }
    }
    left
}

impl Storage for Disk {
    type Writer = Handle;
    type File = Handle;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().unwrap().files.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Handle> {
        self.0.lock().unwrap().files.insert(name.to_owned(), Contents::default());
        self.handle(name)
    }

    fn write(&self, name: &str) -> io::Result<Handle> {
        self.handle(name)
    }

    fn open(&self, name: &str) -> io::Result<Handle> {
        self.handle(name)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.files.remove(name).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.durable_names = state.files.keys().map(|name| (name.clone(), ())).collect();
        Ok(())
    }
}

impl WriteAt for Handle {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock().unwrap();
        let offset = offset as usize;
        let contents = state.files.get(&self.name).ok_or(io::ErrorKind::NotFound)?;
        // Only what makes the file longer needs room.
        let longer = (offset + bytes.len()).saturating_sub(contents.bytes.len());
        let fits = bytes.len() - longer.saturating_sub(state.room.unwrap_or(longer));
        if let Some(room) = &mut state.room {
            *room = room.saturating_sub(longer);
        }
        let contents = state.files.get_mut(&self.name).ok_or(io::ErrorKind::NotFound)?;
        write_at(&mut contents.bytes, &bytes[..fits], offset);
        contents.unsynced.push(Change::Write { offset, bytes: bytes[..fits].to_vec() });
        if fits == bytes.len() { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.0.lock().unwrap();
        if std::mem::take(&mut state.fail_sync) {
            return Err(io::Error::other("the disk has a fault"));
        }
        let contents = state.files.get_mut(&self.name).ok_or(io::ErrorKind::NotFound)?;
        contents.synced.clone_from(&contents.bytes);
        contents.unsynced.clear();
        Ok(())
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.disk.with(&self.name, |contents| {
            contents.bytes.resize(len as usize, 0);
            contents.unsynced.push(Change::Cut(len as usize));
        })
    }
}

impl ReadAt for Handle {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.with(&self.name, |contents| {
            let from = contents.bytes.get(offset as usize..).unwrap_or_default();
            let read = from.len().min(buffer.len());
            buffer[..read].copy_from_slice(&from[..read]);
            read
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.disk.with(&self.name, |contents| contents.bytes.len() as u64)
    }
}

/// Small segments, so that a short run crosses many.
fn options() -> Options {
    Options::default().segment_bytes(200).fill_bytes(64)
}

fn group(numbers: std::ops::Range<u32>, padding: usize) -> Group {
    let mut group = Group::new();
    for number in numbers {
        group.push(|bytes| {
            bytes.extend_from_slice(&number.to_le_bytes());
            bytes.resize(bytes.len() + padding, b'x');
        });
    }
    group
}

fn numbers(log: &Log<Disk>, from: Position) -> Vec<u32> {
    let mut reader = log.reader(from);
    let mut numbers = Vec::new();
    while let Some(entry) = reader.next().unwrap() {
        numbers.push(u32::from_le_bytes(entry.payload[..4].try_into().unwrap()));
    }
    numbers
}

#[derive(Clone, Debug)]
enum Action {
    Append {
        records: u32,
        padding: usize,
    },
    /// An append that finds the disk full after this many bytes.
    Full {
        room: usize,
    },
    /// An append whose sync fails.
    SyncFails,
    CutPower(Vec<u8>),
    Reopen,
    Discard,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (1..5_u32, 0..60_usize).prop_map(|(records, padding)| Action::Append { records, padding }),
        1 => (0..300_usize).prop_map(|room| Action::Full { room }),
        1 => Just(Action::SyncFails),
        3 => prop::collection::vec(any::<u8>(), 1..20).prop_map(Action::CutPower),
        1 => Just(Action::Reopen),
        1 => Just(Action::Discard),
    ]
}

/// What may stand in the log: everything acknowledged, then at most one group that was not.
#[derive(Default)]
struct Model {
    acknowledged: Vec<u32>,
    next: u32,
    /// The numbers of each append that failed since the last one that did not.
    in_doubt: Vec<Vec<u32>>,
    discarded: usize,
}

impl Model {
    fn append(
        &mut self,
        log: &mut Log<Disk>,
        records: u32,
        padding: usize,
    ) -> Result<(), LogError> {
        let range = self.next..self.next + records;
        self.next = range.end;
        log.append(&group(range.clone(), padding))?;
        // What failed before was cut by now, or stands where nobody reads, and cannot come back.
        self.in_doubt.clear();
        self.acknowledged.extend(range);
        Ok(())
    }

    fn check(&self, log: &Log<Disk>) {
        let found = numbers(log, Position::START);
        let kept = &self.acknowledged[self.discarded..];
        assert!(found.ends_with(kept), "acknowledged {kept:?}, found {found:?}");
        let older = &found[..found.len() - kept.len()];
        assert!(self.acknowledged[..self.discarded].ends_with(older), "found {found:?}");
    }

    /// After a crash a part of one group that was in doubt may have become part of the log.
    fn settle(&mut self, log: &Log<Disk>) {
        let found = numbers(log, Position::START);
        let doubted = |number: &u32| self.in_doubt.iter().any(|group| group.contains(number));
        let extra: Vec<u32> = found.iter().copied().filter(doubted).collect();
        let fits = self.in_doubt.iter().any(|group| group.starts_with(&extra));
        assert!(extra.is_empty() || fits, "{extra:?} of {:?}", self.in_doubt);
        self.acknowledged.extend(extra);
        self.in_doubt.clear();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn acknowledged_is_kept_whatever_happens(actions in prop::collection::vec(action(), 1..40)) {
        let mut disk = Disk::default();
        let mut model = Model::default();
        let (mut log, _) = Log::open(disk.clone(), options()).unwrap();
        for action in actions {
            match action {
                Action::Append { records, padding } => {
                    model.append(&mut log, records, padding).unwrap();
                }
                Action::Full { room } => {
                    disk.0.lock().unwrap().room = Some(room);
                    let before = model.next;
                    if model.append(&mut log, 3, 40).is_err() {
                        model.in_doubt.push((before..model.next).collect());
                    }
                    disk.0.lock().unwrap().room = None;
                }
                Action::SyncFails => {
                    disk.0.lock().unwrap().fail_sync = true;
                    let before = model.next;
                    if model.append(&mut log, 3, 10).is_err() {
                        model.in_doubt.push((before..model.next).collect());
                    }
                    disk.0.lock().unwrap().fail_sync = false;
                }
                Action::CutPower(luck) => {
                    disk = disk.cut_power(&luck);
                    log = Log::open(disk.clone(), options()).unwrap().0;
                    model.settle(&log);
                }
                Action::Reopen => {
                    log = Log::open(disk.clone(), options()).unwrap().0;
                    model.settle(&log);
                }
                Action::Discard => {
                    log.discard_before(log.end()).unwrap();
                    model.discarded = model.acknowledged.len();
                }
            }
            model.check(&log);
        }
    }

    /// The power goes in the middle of an append: what was acknowledged before stays, and of the group a whole prefix at most.
    #[test]
    fn an_append_cut_short_leaves_a_prefix(
        before in 0..6_u32,
        records in 1..6_u32,
        luck in prop::collection::vec(any::<u8>(), 1..30),
    ) {
        let disk = Disk::default();
        let (mut log, _) = Log::open(disk.clone(), options()).unwrap();
        for number in 0..before {
            log.append(&group(number..number + 1, 20)).unwrap();
        }
        // What the log does before it syncs, done by hand.
        let end = log.end();
        let Some(name) = disk.list().unwrap().pop() else { return Ok(()) };
        let base: u64 = name.trim_end_matches(".log").parse().unwrap();
        let mut file = disk.write(&name).unwrap();
        let header = 16;
        let cut = group(before..before + records, 20);
        file.write_at(cut.bytes(), header + end.get() - base).unwrap();
        let after = disk.cut_power(&luck);
        let (log, _) = Log::open(after, options()).unwrap();
        let found = numbers(&log, Position::START);
        let all: Vec<u32> = (0..before + records).collect();
        prop_assert!(all.starts_with(&found), "{found:?}");
        prop_assert!(found.len() >= before as usize, "{found:?}");
    }
}
