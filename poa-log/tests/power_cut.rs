//! The power goes at any moment. What was acknowledged stays, and nothing else appears.
//!
//! The storage here keeps what was synced, and of what was not an arbitrary part: a prefix, nothing, or torn sectors.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall panic")]

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use poa_log::storage::{Append, ReadAt, Storage};
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
                files.insert(name.clone(), Contents { synced: left.clone(), bytes: left });
            }
        }
        let durable_names = files.keys().map(|name| (name.clone(), ())).collect();
        Disk(Arc::new(Mutex::new(State { files, durable_names, ..State::default() })))
    }
}

/// A part of the unsynced bytes, some sectors of it lost.
fn survivor(contents: &Contents, luck: &mut impl Iterator<Item = u8>) -> Vec<u8> {
    const SECTOR: usize = 16;
    if !contents.bytes.starts_with(&contents.synced) {
        // The file was cut and not synced: either length may be on the disk.
        let cut = luck.next().unwrap() % 2 == 0;
        return if cut { contents.bytes.clone() } else { contents.synced.clone() };
    }
    let unsynced = contents.bytes.len() - contents.synced.len();
    let reached = unsynced * usize::from(luck.next().unwrap()) / 255;
    let mut left = contents.bytes[..contents.synced.len() + reached].to_vec();
    for sector in left[contents.synced.len()..].chunks_mut(SECTOR) {
        if luck.next().unwrap() % 4 == 0 {
            sector.fill(0);
        }
    }
    left
}

impl Storage for Disk {
    type Appender = Handle;
    type File = Handle;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().unwrap().files.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Handle> {
        self.0.lock().unwrap().files.insert(name.to_owned(), Contents::default());
        self.handle(name)
    }

    fn append(&self, name: &str) -> io::Result<Handle> {
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

impl Append for Handle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.0.lock().unwrap();
        let fits = state.room.unwrap_or(bytes.len()).min(bytes.len());
        if let Some(room) = &mut state.room {
            *room -= fits;
        }
        let contents = state.files.get_mut(&self.name).ok_or(io::ErrorKind::NotFound)?;
        contents.bytes.extend_from_slice(&bytes[..fits]);
        if fits == bytes.len() { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.0.lock().unwrap();
        if std::mem::take(&mut state.fail_sync) {
            return Err(io::Error::other("the disk has a fault"));
        }
        let contents = state.files.get_mut(&self.name).ok_or(io::ErrorKind::NotFound)?;
        contents.synced.clone_from(&contents.bytes);
        Ok(())
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.disk.with(&self.name, |contents| contents.bytes.truncate(len as usize))
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
    Options::default().segment_bytes(200)
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
    /// The numbers of the last append, if it failed.
    in_doubt: Vec<u32>,
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

    /// After a crash a part of what was in doubt may have become part of the log.
    fn settle(&mut self, log: &Log<Disk>) {
        let found = numbers(log, Position::START);
        let extra: Vec<u32> =
            found.iter().copied().filter(|number| self.in_doubt.contains(number)).collect();
        assert!(self.in_doubt.starts_with(&extra), "{extra:?} of {:?}", self.in_doubt);
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
                    // What failed before was cut by now, and cannot come back.
                    model.in_doubt.clear();
                }
                Action::Full { room } => {
                    disk.0.lock().unwrap().room = Some(room);
                    let before = model.next;
                    if model.append(&mut log, 3, 40).is_err() {
                        model.in_doubt = (before..model.next).collect();
                    }
                    disk.0.lock().unwrap().room = None;
                }
                Action::SyncFails => {
                    disk.0.lock().unwrap().fail_sync = true;
                    let before = model.next;
                    if model.append(&mut log, 3, 10).is_err() {
                        model.in_doubt = (before..model.next).collect();
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
        // A sync that fails leaves the bytes written and not synced, as a cut before the sync does.
        let written = {
            disk.0.lock().unwrap().fail_sync = true;
            let copy = disk.clone();
            let mut handle = match copy.list().unwrap().last() {
                Some(name) => copy.append(name).unwrap(),
                None => return Ok(()),
            };
            handle.write(group(before..before + records, 20).bytes()).unwrap();
            copy
        };
        let after = written.cut_power(&luck);
        let (log, _) = Log::open(after, options()).unwrap();
        let found = numbers(&log, Position::START);
        let all: Vec<u32> = (0..before + records).collect();
        prop_assert!(all.starts_with(&found), "{found:?}");
        prop_assert!(found.len() >= before as usize, "{found:?}");
    }
}
