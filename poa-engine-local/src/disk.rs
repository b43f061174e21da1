//! Reading from the log, for readers that are behind.

use std::collections::BTreeMap;
use std::ops::Range;

use poa_core::DataTypes;
use poa_core::engine::{Decoded, TypeSet, decode};
use poa_log::{Directory, LogError, Position, Readers};
use tokio::task::JoinHandle;

use crate::bounds::Stretch;
use crate::cursors::Cursor;
use crate::load::Load;

/// Makes readers of the log.
#[derive(Clone, Debug)]
pub(crate) struct LogReaders {
    pub(crate) readers: Readers<Directory>,
    pub(crate) types: DataTypes,
    /// Where the log began when it was opened.
    pub(crate) begin: u64,
}

/// A log reader that is kept between reads, because it has a file open and bytes read ahead.
type Kept = poa_log::Reader<Directory>;

/// What is to be read: events of these types from `from` on, up to `limit` and before `end`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) from: u64,
    pub(crate) end: u64,
    pub(crate) types: TypeSet,
    pub(crate) limit: Load,
}

/// What reads the log for a receiver that is behind.
#[derive(Debug, Default)]
pub(crate) struct OnDisk {
    kept: Option<Kept>,
    /// What is read while the receiver has the batch before it in hand. Nobody counts on it: when the receiver goes on elsewhere, it
    /// is dropped.
    ahead: Option<(Wanted, Reading)>,
}

type Reading = JoinHandle<Result<(Chunk, Kept), LogError>>;

impl OnDisk {
    /// Reads this, or waits until it was read ahead; that may have had an earlier end. None when the runtime is shutting down.
    ///
    /// Cancel safe: what was read by a call that is dropped is read again.
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

    /// Begins to read what will be wanted next.
    pub(crate) fn read_ahead(&mut self, log: &LogReaders, wanted: Wanted) {
        self.ahead = Some((wanted, self.begin(log, wanted)));
    }

    fn begin(&mut self, log: &LogReaders, wanted: Wanted) -> Reading {
        let (log, kept) = (log.clone(), self.kept.take());
        tokio::task::spawn_blocking(move || log.read(kept, wanted))
    }

    /// Where what is read ahead begins.
    #[cfg(test)]
    pub(crate) fn ahead_from(&self) -> Option<u64> {
        self.ahead.as_ref().map(|(wanted, _)| wanted.from)
    }
}

/// What was read at once.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) stretch: Stretch,
    /// Records that could not be read, and are lost to this reader.
    pub(crate) damage: Option<LogError>,
    /// The parts of the log where they stand.
    pub(crate) passed_over: Vec<Range<u64>>,
    /// How many messages there were of types that are no longer declared, by type.
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

/// Looks at no more than this much of the log for one chunk, so that a reader of rare types answers now and then.
const STRETCH: u64 = 8 << 20;

impl LogReaders {
    /// The oldest place in the log. What waits there, nobody has counted.
    pub(crate) fn begin(&self) -> Cursor {
        Cursor { position: self.begin, ..Cursor::default() }
    }

    /// Reads what is wanted.
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

    /// False at the end of the log.
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
                let reason = "a record is of no known kind";
                return Err(LogError::Damaged { position, resume, reason });
            }
        }
        Ok(true)
    }
}
