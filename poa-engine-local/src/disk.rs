//! Reads the log for receivers that are behind.

use std::collections::BTreeMap;
use std::ops::Range;

use poa_core::DataTypes;
use poa_core::engine::{Decoded, TypeSet, decode};
use poa_log::{Directory, LogError, Position, Readers};
use tokio::task::JoinHandle;

use crate::bounds::Stretch;
use crate::cursors::Cursor;
use crate::load::Load;

/// Creates readers of the log.
#[derive(Clone, Debug)]
pub(crate) struct LogReaders {
    pub(crate) readers: Readers<Directory>,
    pub(crate) types: DataTypes,
    /// The position at which the log began when it was opened.
    pub(crate) begin: u64,
}

/// A log reader that is kept between reads, because it has a file open and a buffer.
type Kept = poa_log::Reader<Directory>;

/// The events to read: those of these types from `from` on, up to `limit` and before `end`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) from: u64,
    pub(crate) end: u64,
    pub(crate) types: TypeSet,
    pub(crate) limit: Load,
}

/// The log reader of a receiver that is behind.
#[derive(Debug, Default)]
pub(crate) struct OnDisk {
    kept: Option<Kept>,
    /// The read-ahead while the batch before it is in flight. It is optional: when the receiver continues elsewhere, it is dropped.
    ahead: Option<(Wanted, Reading)>,
}

type Reading = JoinHandle<Result<(Chunk, Kept), LogError>>;

impl OnDisk {
    /// Reads these events, or waits for the read-ahead, which may have had an earlier end. `None` when the runtime is shutting down.
    ///
    /// Cancel safe: what a dropped call has read is read again.
    pub(crate) async fn read(
        &mut self,
        log: &LogReaders,
        wanted: Wanted,
    ) -> Option<Result<Chunk, LogError>> {
        let reading = match self.ahead.take() {
            Some((ahead, reading)) if (ahead.from, ahead.limit) == (wanted.from, wanted.limit) => {
                reading
            }
            _ => self.begin(log, wanted),
        };
        Some(reading.await.ok()?.map(|(chunk, reader)| {
            self.kept = Some(reader);
            chunk
        }))
    }

    /// Starts to read the events that will be needed next.
    pub(crate) fn read_ahead(&mut self, log: &LogReaders, wanted: Wanted) {
        self.ahead = Some((wanted, self.begin(log, wanted)));
    }

    fn begin(&mut self, log: &LogReaders, wanted: Wanted) -> Reading {
        let (log, kept) = (log.clone(), self.kept.take());
        tokio::task::spawn_blocking(move || log.read(kept, wanted))
    }

    /// The position at which the read-ahead begins.
    #[cfg(test)]
    pub(crate) fn ahead_from(&self) -> Option<u64> {
        self.ahead.as_ref().map(|(wanted, _)| wanted.from)
    }
}

/// The result of one read.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) stretch: Stretch,
    /// Records that could not be read, and are lost to this reader.
    pub(crate) damage: Option<LogError>,
    /// The affected parts of the log.
    pub(crate) passed_over: Vec<Range<u64>>,
    /// The number of messages of undeclared types, by type.
    pub(crate) undeclared: BTreeMap<Box<str>, u64>,
}

impl Chunk {
    fn at(position: u64) -> Self {
        Self {
            stretch: Stretch { events: Vec::new(), next: position },
            damage: None,
            passed_over: Vec::new(),
            undeclared: BTreeMap::new(),
        }
    }
}

/// The most of the log that is examined for one chunk, so that a reader of rare types answers now and then.
const STRETCH: u64 = 8 << 20;

impl LogReaders {
    /// The oldest position in the log. The backlog there has not been counted.
    pub(crate) fn begin(&self) -> Cursor {
        Cursor { position: self.begin, ..Cursor::default() }
    }

    /// Reads the requested events.
    pub(crate) fn read(
        &self,
        kept: Option<Kept>,
        wanted: Wanted,
    ) -> Result<(Chunk, Kept), LogError> {
        let Wanted { from, end, types, limit } = wanted;
        let mut reader = match kept {
            Some(reader) if reader.position().get() == from => reader,
            _ => self.readers.reader(Position::new(from)),
        };
        let mut chunk = Chunk::at(from);
        let mut load = Load::default();
        while chunk.stretch.next < end
            && chunk.stretch.next - from < STRETCH
            && !load.reaches(limit)
        {
            match self.read_one(&mut reader, types, &mut chunk, &mut load) {
                Ok(true) => {}
                Ok(false) => break,
                Err(LogError::Damaged { position, resume, reason }) => {
                    // Without a later segment, nothing can be read up to the end.
                    let next = resume.map_or(end, |resume| resume.get().min(end));
                    reader.skip_to(Position::new(next));
                    chunk.stretch.next = next;
                    chunk.passed_over.push(position.get()..next);
                    chunk.damage = Some(LogError::Damaged { position, resume, reason });
                }
                Err(error) => return Err(error),
            }
        }
        Ok((chunk, reader))
    }

    /// Returns false at the end of the log.
    fn read_one(
        &self,
        reader: &mut Kept,
        types: TypeSet,
        chunk: &mut Chunk,
        load: &mut Load,
    ) -> Result<bool, LogError> {
        let Some(entry) = reader.next()? else { return Ok(false) };
        chunk.stretch.next = entry.next.get();
        match decode(entry.payload, &self.types) {
            Decoded::Event(event) if event.is_for(types) => {
                load.add(Load::of(&event));
                chunk.stretch.events.push((entry.position.get(), event));
            }
            Decoded::Event(_) => {}
            Decoded::UnknownType(name) => *chunk.undeclared.entry(name).or_default() += 1,
            Decoded::Unreadable => {
                let (position, resume) = (entry.position, Some(entry.next));
                let reason = "a record is of an unknown kind";
                return Err(LogError::Damaged { position, resume, reason });
            }
        }
        Ok(true)
    }
}
