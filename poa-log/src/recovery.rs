//! Opens a log that may have been cut off at any moment.

use crate::record::next_whole;
use crate::segment::{self, HEADER, Header};
use crate::storage::{ReadAt, Storage, WriteAt};
use crate::{LogError, Position};

/// The state of a log when it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovered {
    /// Bytes after the last whole record, which were cut: they were being written when the power was cut, and were never
    /// acknowledged. Zeros at the end do not count, because segments are filled with them in advance.
    pub torn_bytes: u64,
    /// The file that keeps these bytes; `None` if there was no space for them.
    pub kept_in: Option<String>,
    /// Bytes that are not a record and are followed by whole records. They were not cut: readers skip them and report it.
    ///
    /// Either the disk has lost data, or a group was being written when the power was cut, and its end reached the disk before
    /// its beginning. The records that follow are given to readers in both cases, although in the second they were not
    /// acknowledged.
    pub damaged_bytes: u64,
}

pub(crate) struct Found<A> {
    pub(crate) segments: Vec<Position>,
    pub(crate) end: Position,
    pub(crate) current: Option<A>,
    pub(crate) report: Recovered,
}

/// Finds the segments and the end of the last one.
pub(crate) fn recover<S: Storage>(storage: &S) -> Result<Found<S::Writer>, LogError> {
    let names = storage.list().map_err(LogError::io("list the files of", "the log"))?;
    let mut segments: Vec<_> = names.iter().filter_map(|name| segment::base(name)).collect();
    segments.sort_unstable();
    let Some(last) = segments.last().copied() else {
        let (end, report) = (Position::START, Recovered::default());
        return Ok(Found { segments, end, current: None, report });
    };
    for base in &segments[..segments.len() - 1] {
        check_version(storage, *base)?;
    }
    let bytes = read_all(storage, last)?;
    match segment::check_header(&segment::name(last), last, &bytes)? {
        Header::Fine => recover_tail(storage, segments, last, &bytes),
        // It has records, so it was completed once.
        Header::Unfinished if bytes.iter().skip(HEADER as usize).any(|byte| *byte != 0) => {
            recover_tail(storage, segments, last, &bytes)
        }
        // Nothing was ever written to it, so its position is the end.
        Header::Unfinished => {
            // Its name marks the end of the segment before it, which may have more bytes after that, and it may itself have had
            // more: of a group that failed.
            let name = segment::name(last);
            let mut file = storage.write(&name).map_err(LogError::io("open", &name))?;
            make_durable(storage, &mut file, &name)?;
            let report = Recovered { torn_bytes: bytes.len() as u64, ..Recovered::default() };
            segments.pop();
            Ok(Found { segments, end: last, current: None, report })
        }
    }
}

fn check_version<S: Storage>(storage: &S, base: Position) -> Result<(), LogError> {
    let name = segment::name(base);
    let file = storage.open(&name).map_err(LogError::io("open", &name))?;
    let mut header = [0; HEADER as usize];
    let read = file.read_at(&mut header, 0).map_err(LogError::io("read", &name))?;
    segment::check_header(&name, base, &header[..read]).map(|_| ())
}

fn read_all<S: Storage>(storage: &S, base: Position) -> Result<Vec<u8>, LogError> {
    let name = segment::name(base);
    let file = storage.open(&name).map_err(LogError::io("open", &name))?;
    let length = file.len().map_err(LogError::io("read", &name))?;
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    let read = file.read_at(&mut bytes, 0).map_err(LogError::io("read", &name))?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Finds the end of the last segment, and cuts it there; if there is damage before that, a new segment is created instead.
fn recover_tail<S: Storage>(
    storage: &S,
    segments: Vec<Position>,
    base: Position,
    bytes: &[u8],
) -> Result<Found<S::Writer>, LogError> {
    let name = segment::name(base);
    let records = &bytes[HEADER as usize..];
    let (whole, damaged_bytes) = extent(records);
    let end = base.plus(whole as u64);
    let mut file = storage.write(&name).map_err(LogError::io("open", &name))?;
    if damaged_bytes > 0 {
        make_durable(storage, &mut file, &name)?;
        // The file stays unchanged, for inspection; the beginning of the next segment marks its end.
        let report = Recovered { damaged_bytes, ..Recovered::default() };
        return Ok(Found { segments, end, current: None, report });
    }
    let torn = without_trailing_zeros(&records[whole..]);
    let kept_in = keep(storage, end, torn);
    if records.len() > whole {
        // After the end there must be nothing that could be mistaken for a record after the next crash.
        file.set_len(HEADER + whole as u64).map_err(LogError::io("cut", &name))?;
    }
    make_durable(storage, &mut file, &name)?;
    let report = Recovered { torn_bytes: torn.len() as u64, kept_in, damaged_bytes };
    Ok(Found { segments, end, current: Some(file), report })
}

/// The data that was found, including the name, may only have been in the page cache; from now on it counts as durable.
fn make_durable<S: Storage>(storage: &S, file: &mut S::Writer, name: &str) -> Result<(), LogError> {
    file.sync().map_err(LogError::io("sync", name))?;
    storage.sync_names().map_err(LogError::io("sync the directory of", name))
}

/// The end of the last whole record, and the number of bytes before it that are not records.
fn extent(records: &[u8]) -> (usize, u64) {
    let (mut end, mut damaged) = (segment::whole_records(records), 0);
    while let Some(skip) = next_whole(&records[end..]) {
        damaged += skip as u64;
        end += skip;
        end += segment::whole_records(&records[end..]);
    }
    (end, damaged)
}

fn without_trailing_zeros(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    &bytes[..end]
}

/// Keeps the bytes that are cut, for inspection. This may fail: a full disk must not prevent opening the log.
fn keep<S: Storage>(storage: &S, end: Position, torn: &[u8]) -> Option<String> {
    if torn.is_empty() {
        return None;
    }
    let name = format!("torn-{:020}.bin", end.get());
    let mut file = storage.create(&name).ok()?;
    if file.write_at(torn, 0).and_then(|()| file.sync()).is_ok() {
        return Some(name);
    }
    // A part of them would only take space.
    let _ = storage.remove(&name);
    None
}
