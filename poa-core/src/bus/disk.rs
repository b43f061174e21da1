//! Reading from the log, for readers that are behind.

use std::collections::BTreeMap;
use std::ops::Range;

use poa_log::{Directory, LogError, Position, Readers};

use super::codec::{Decoded, decode};
use super::cursors::Cursor;
use super::{Event, Load};
use crate::DataTypes;
use crate::data_type::TypeSet;

/// Makes readers of the log.
#[derive(Clone, Debug)]
pub(crate) struct LogReaders {
    pub(super) readers: Readers<Directory>,
    pub(super) types: DataTypes,
    /// Where the log began when it was opened.
    pub(super) begin: u64,
}

/// A log reader that is kept between reads, because it has a file open and bytes read ahead.
pub(super) type Kept = poa_log::Reader<Directory>;

/// What was read at once.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) events: Vec<(u64, Event)>,
    /// Where reading goes on.
    pub(super) next: u64,
    /// Records that could not be read, and are lost to this reader.
    pub(super) damage: Option<LogError>,
    /// The parts of the log where they stand.
    pub(super) passed_over: Vec<Range<u64>>,
    /// How many messages there were of types that are no longer declared, by type.
    pub(super) undeclared: BTreeMap<Box<str>, u64>,
}

impl Chunk {
    fn at(position: u64) -> Self {
        Self {
            events: Vec::new(),
            next: position,
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
    pub(super) fn begin(&self) -> Cursor {
        Cursor { position: self.begin, ..Cursor::default() }
    }

    /// Reads events of these types from `from` on, up to `limit` and before `end`.
    pub(super) fn read(
        &self,
        kept: Option<Kept>,
        from: u64,
        end: u64,
        types: TypeSet,
        limit: Load,
    ) -> Result<(Chunk, Kept), LogError> {
        let mut reader = match kept {
            Some(reader) if reader.position().get() == from => reader,
            _ => self.readers.reader(Position::new(from)),
        };
        let mut chunk = Chunk::at(from);
        let mut load = Load::default();
        while chunk.next < end && chunk.next - from < STRETCH && !load.reaches(limit) {
            match self.read_one(&mut reader, types, &mut chunk, &mut load) {
                Ok(true) => {}
                Ok(false) => break,
                Err(LogError::Damaged { position, resume, reason }) => {
                    // Without a later segment, nothing can be read up to the end.
                    let next = resume.map_or(end, |resume| resume.get().min(end));
                    reader.skip_to(Position::new(next));
                    chunk.next = next;
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
        chunk.next = entry.next.get();
        match decode(entry.payload, &self.types) {
            Decoded::Event(event) if event.is_for(types) => {
                load.add(Load::of(event.footprint()));
                chunk.events.push((entry.position.get(), event));
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
