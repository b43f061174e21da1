//! The power is cut at any moment, even during an append, a discard or a recovery. Acknowledged records stay, and nothing else
//! appears, except parts of the group that was being written.
//!
//! The storage here keeps what was synced, and an arbitrary part of what was not: a prefix, nothing, or torn sectors; names that
//! were created may be missing, and names that were removed may be back. Any operation may fail.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue should panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};

use poa_log::storage::{ReadAt, Storage, WriteAt};
use poa_log::{Group, Log, LogError, Options, Position};
use proptest::prelude::*;

/// A simulated disk whose power can be cut, and which can fail.
#[derive(Clone, Default)]
struct Disk(Arc<Mutex<State>>);

#[derive(Clone, Default)]
struct State {
    files: BTreeMap<String, Contents>,
    /// Names that survive a crash.
    durable_names: BTreeSet<String>,
    /// Removed files, which a crash may bring back.
    removed: BTreeMap<String, Contents>,
    /// The number of bytes that still fit.
    room: Option<usize>,
    /// The operation that fails the next time it is tried.
    fails: Option<Operation>,
    /// The number of operations left before the power is cut.
    fuse: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Create,
    Write,
    Sync,
    Cut,
    Remove,
    SyncNames,
}

impl State {
    /// Fails if this operation is set to fail, or if the power is off.
    fn begin(&mut self, operation: Operation) -> io::Result<()> {
        match &mut self.fuse {
            Some(0) => return Err(io::Error::other("the power is gone")),
            Some(left) => *left -= 1,
            None => {}
        }
        if self.fails == Some(operation) {
            self.fails = None;
            return Err(io::Error::other("the disk has a fault"));
        }
        Ok(())
    }
}

#[derive(Clone, Default)]
struct Contents {
    bytes: Vec<u8>,
    synced: Vec<u8>,
    /// The changes to the file since it was synced.
    unsynced: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Cut(usize),
}

/// Writes these bytes; the space between the end and their beginning is filled with zeros.
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
    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.lock().unwrap());
    }

    fn with<T>(&self, name: &str, f: impl FnOnce(&mut Contents) -> T) -> io::Result<T> {
        let mut state = self.0.lock().unwrap();
        state.files.get_mut(name).map(f).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn handle(&self, name: &str) -> io::Result<Handle> {
        self.with(name, |_| ())?;
        Ok(Handle { disk: self.clone(), name: name.to_owned() })
    }

    /// The state after a power cut: `luck` decides how much of what was not synced reached the disk.
    fn cut_power(&self, luck: &[u8]) -> Disk {
        let state = self.0.lock().unwrap();
        let mut luck = luck.iter().copied().cycle();
        let mut files = BTreeMap::new();
        for (name, contents) in state.files.iter().chain(&state.removed) {
            let durable = state.files.contains_key(name) && state.durable_names.contains(name);
            let named = durable || luck.next().unwrap() % 2 == 0;
            if named {
                let left = survivor(contents, &mut luck);
                let contents = Contents { synced: left.clone(), bytes: left, unsynced: Vec::new() };
                files.insert(name.clone(), contents);
            }
        }
        let durable_names = files.keys().cloned().collect();
        Disk(Arc::new(Mutex::new(State { files, durable_names, ..State::default() })))
    }
}

/// The synced content, and any part of the changes since: sectors in any order, some or none.
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
        let mut state = self.0.lock().unwrap();
        state.begin(Operation::Create)?;
        let contents = state.files.entry(name.to_owned()).or_default();
        contents.bytes.clear();
        contents.unsynced.push(Change::Cut(0));
        drop(state);
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
        state.begin(Operation::Remove)?;
        let contents = state.files.remove(name).ok_or(io::ErrorKind::NotFound)?;
        if state.durable_names.remove(name) {
            state.removed.insert(name.to_owned(), contents);
        }
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.begin(Operation::SyncNames)?;
        state.durable_names = state.files.keys().cloned().collect();
        state.removed.clear();
        Ok(())
    }
}

impl WriteAt for Handle {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock().unwrap();
        state.begin(Operation::Write)?;
        let offset = offset as usize;
        let contents = state.files.get(&self.name).ok_or(io::ErrorKind::NotFound)?;
        // Only bytes that extend the file need space.
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
        state.begin(Operation::Sync)?;
        let contents = state.files.get_mut(&self.name).ok_or(io::ErrorKind::NotFound)?;
        contents.synced.clone_from(&contents.bytes);
        contents.unsynced.clear();
        Ok(())
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock().unwrap();
        state.begin(Operation::Cut)?;
        let contents = state.files.get_mut(&self.name).ok_or(io::ErrorKind::NotFound)?;
        contents.bytes.resize(len as usize, 0);
        contents.unsynced.push(Change::Cut(len as usize));
        Ok(())
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
    loop {
        match reader.next() {
            Ok(Some(entry)) => {
                numbers.push(u32::from_le_bytes(entry.payload[..4].try_into().unwrap()));
            }
            Ok(None) => return numbers,
            // The hole in a group whose end reached the disk before its beginning.
            Err(LogError::Damaged { resume, .. }) => {
                reader.skip_to(resume.unwrap_or_else(|| log.end()));
            }
            Err(error) => panic!("{error}"),
        }
    }
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
    /// An append during which an operation fails.
    Fails(Operation),
    CutPower(Vec<u8>),
    /// The power is cut after this many operations of an append, a discard or a recovery.
    CutWithin {
        what: Within,
        after: usize,
        luck: Vec<u8>,
    },
    Reopen,
    /// A disk that is full when the log is opened, as far as it has to be written.
    ReopenFull,
    Discard,
}

#[derive(Clone, Copy, Debug)]
enum Within {
    Append,
    Discard,
    Reopen,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (1..5_u32, 0..60_usize).prop_map(|(records, padding)| Action::Append { records, padding }),
        1 => (0..300_usize).prop_map(|room| Action::Full { room }),
        2 => operation().prop_map(Action::Fails),
        2 => luck().prop_map(Action::CutPower),
        3 => (within(), 0..8_usize, luck())
            .prop_map(|(what, after, luck)| Action::CutWithin { what, after, luck }),
        1 => Just(Action::Reopen),
        1 => Just(Action::ReopenFull),
        1 => Just(Action::Discard),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::{Create, Cut, Remove, Sync, SyncNames, Write};
    prop::sample::select(vec![Create, Write, Sync, Cut, Remove, SyncNames])
}

fn within() -> impl Strategy<Value = Within> {
    prop::sample::select(vec![Within::Append, Within::Discard, Within::Reopen])
}

fn luck() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 1..20)
}

/// The expected content of the log: everything acknowledged, then parts of at most one group that was not.
#[derive(Default)]
struct Model {
    acknowledged: Vec<u32>,
    next: u32,
    /// The numbers of each append that failed since the last success.
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
        if let Err(error) = log.append(&group(range.clone(), padding)) {
            self.in_doubt.push(range.collect());
            return Err(error);
        }
        // What failed before has been cut by now, or is where no reader looks, and cannot come back.
        self.in_doubt.clear();
        self.acknowledged.extend(range);
        Ok(())
    }

    fn discard(&mut self, log: &mut Log<Disk>) {
        // Records that could not be discarded are still there, which is harmless.
        let _ = log.discard_before(log.end());
        self.discarded = self.acknowledged.len();
    }

    fn check(&self, log: &Log<Disk>) {
        let found = numbers(log, Position::START);
        let kept = &self.acknowledged[self.discarded..];
        assert!(found.ends_with(kept), "acknowledged {kept:?}, found {found:?}");
        let older = &found[..found.len() - kept.len()];
        assert!(self.acknowledged[..self.discarded].ends_with(older), "found {found:?}");
    }

    /// After a crash, parts of one unacknowledged group may have become part of the log.
    fn settle(&mut self, log: &Log<Disk>) {
        let found = numbers(log, Position::START);
        let doubted = |number: &u32| self.in_doubt.iter().any(|group| group.contains(number));
        let extra: Vec<u32> = found.iter().copied().filter(doubted).collect();
        let of = |group: &Vec<u32>| extra.iter().all(|number| group.contains(number));
        let fits = extra.is_sorted_by(|one, next| one < next) && self.in_doubt.iter().any(of);
        assert!(extra.is_empty() || fits, "{extra:?} of {:?}", self.in_doubt);
        self.acknowledged.extend(extra);
        self.in_doubt.clear();
    }
}

/// Performs all of these actions, and checks the content of the log after each.
fn run(actions: Vec<Action>) {
    let mut disk = Disk::default();
    let mut model = Model::default();
    let (mut log, _) = Log::open(disk.clone(), options()).unwrap();
    for action in actions {
        match action {
            Action::Append { records, padding } => {
                model.append(&mut log, records, padding).unwrap();
            }
            Action::Full { room } => {
                disk.set(|state| state.room = Some(room));
                let _ = model.append(&mut log, 3, 40);
                disk.set(|state| state.room = None);
            }
            Action::Fails(operation) => {
                disk.set(|state| state.fails = Some(operation));
                let _ = model.append(&mut log, 3, 10);
                let _ = log.discard_before(Position::START);
                disk.set(|state| state.fails = None);
            }
            Action::CutPower(luck) => {
                disk = disk.cut_power(&luck);
                log = Log::open(disk.clone(), options()).unwrap().0;
                model.settle(&log);
            }
            Action::CutWithin { what, after, luck } => {
                disk.set(|state| state.fuse = Some(after));
                match what {
                    Within::Append => drop(model.append(&mut log, 4, 30)),
                    Within::Discard => model.discard(&mut log),
                    Within::Reopen => drop(Log::open(disk.clone(), options())),
                }
                disk = disk.cut_power(&luck);
                log = Log::open(disk.clone(), options()).unwrap().0;
                model.settle(&log);
            }
            Action::Reopen => {
                log = Log::open(disk.clone(), options()).unwrap().0;
                model.settle(&log);
            }
            Action::ReopenFull => {
                disk.set(|state| state.room = Some(0));
                log = Log::open(disk.clone(), options()).unwrap().0;
                disk.set(|state| state.room = None);
                model.settle(&log);
            }
            Action::Discard => model.discard(&mut log),
        }
        model.check(&log);
    }
}

/// Neither after a segment that was being created, whose name marks the end of the one before it, nor in one that was created
/// again.
#[test]
fn a_group_that_failed_does_not_come_back_after_a_restart() {
    let failed = [
        vec![Action::Fails(Operation::Sync), Action::Full { room: 0 }],
        vec![Action::Full { room: 109 }, Action::Fails(Operation::Write)],
    ];
    for (failed, padding) in failed.into_iter().zip([0, 33]) {
        let mut actions = vec![Action::Append { records: 1, padding }];
        actions.extend(failed);
        actions.push(Action::Reopen);
        // The worst case: the writes reached the disk, the truncations did not, and names are missing.
        for luck in [vec![85, 0, 0, 0, 128, 215, 0, 0, 0, 0, 0], vec![128, 143, 0, 0, 0, 0]] {
            let mut actions = actions.clone();
            actions.push(Action::CutPower(luck));
            run(actions);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn acknowledged_records_survive_any_sequence_of_faults(actions in prop::collection::vec(action(), 1..40)) {
        run(actions);
    }

    /// A disk with corrupted data: one changed byte costs one record, and neither those after it nor later ones.
    #[test]
    fn a_changed_byte_costs_one_record(
        appends in prop::collection::vec((1..5_u32, 0..60_usize), 1..12),
        at in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
    ) {
        let disk = Disk::default();
        let (mut log, _) = Log::open(disk.clone(), options()).unwrap();
        let mut model = Model::default();
        for (records, padding) in appends {
            model.append(&mut log, records, padding).unwrap();
        }
        let end = log.end();
        let last: u64 = disk.list().unwrap().pop().unwrap()[..20].parse().unwrap();
        let held = (end.get() - last) as usize;
        let name = format!("{last:020}.log");
        disk.with(&name, |contents| contents.bytes[16 + at.index(held)] ^= flip).unwrap();

        let (mut log, recovered) = Log::open(disk, options()).unwrap();
        let found = numbers(&log, Position::START);
        let missing: Vec<u32> =
            model.acknowledged.iter().copied().filter(|number| !found.contains(number)).collect();
        prop_assert!(found.is_sorted(), "{found:?}");
        prop_assert_eq!(missing.len(), 1, "{:?}", missing);
        // Only the last record can be mistaken for a torn write.
        let was_last = missing.last() == model.acknowledged.last();
        prop_assert_eq!(recovered.damaged_bytes > 0, !was_last, "{:?}", recovered);
        prop_assert_eq!(recovered.torn_bytes > 0, was_last, "{:?}", recovered);
        model.append(&mut log, 2, 5).unwrap();
        let later = numbers(&log, Position::START);
        prop_assert!(later.starts_with(&found) && later.len() == found.len() + 2, "{:?}", later);
    }
}
