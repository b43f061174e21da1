//! Readers.

use std::fmt;
use std::sync::Arc;

use crate::log::Shared;
use crate::record::{FRAME, Parsed, next_whole, parse};
use crate::segment::{self, HEADER};
use crate::storage::{ReadAt as _, Storage};
use crate::{LogError, Position};

/// The number of bytes read from a file at once.
const CHUNK: usize = 256 << 10;

/// Reads a log from a position on, at its own pace.
pub struct Reader<S: Storage> {
    storage: Arc<S>,
    shared: Arc<Shared>,
    next: Position,
    /// The segment that is being read: its position, and that of the next one.
    open: Option<Open<S>>,
    buffer: Vec<u8>,
    /// The position of the buffer's first byte.
    buffered_from: Position,
}

struct Open<S: Storage> {
    base: Position,
    until: Option<Position>,
    file: S::File,
}

/// A record that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The position of the record.
    pub position: Position,
    /// The position of the next record.
    pub next: Position,
    /// The bytes that were written.
    pub payload: &'a [u8],
}

impl<S: Storage> Reader<S> {
    pub(crate) fn new(storage: Arc<S>, shared: Arc<Shared>, from: Position) -> Self {
        Self { storage, shared, next: from, open: None, buffer: Vec::new(), buffered_from: from }
    }

    /// The position of the next record to read.
    #[must_use]
    pub fn position(&self) -> Position {
        self.next
    }

    /// The next record; `None` at the end of what is durable. More may follow later.
    ///
    /// # Errors
    /// When the storage fails, or the log is damaged; in the second case [`skip_to`](Self::skip_to) may continue after
    /// the damage.
    #[allow(clippy::should_implement_trait, reason = "an iterator cannot lend its items")]
    pub fn next(&mut self) -> Result<Option<Entry<'_>>, LogError> {
        if self.next >= self.shared.end() {
            return Ok(None);
        }
        self.ensure_open()?;
        // Opening may have skipped discarded segments.
        if self.next >= self.shared.end() {
            return Ok(None);
        }
        self.ensure_buffered(FRAME)?;
        if let Parsed::Short(length) = parse(self.unread()) {
            self.ensure_buffered(length)?;
        }
        let position = self.next;
        let length = match parse(self.unread()) {
            Parsed::Whole(payload) => payload.len(),
            Parsed::Short(_) => return Err(self.damaged("the file ends inside of a record")?),
            Parsed::Bad => return Err(self.damaged("the checksum of a record is wrong")?),
        };
        self.next = position.plus((FRAME + length) as u64);
        let start = position.since(self.buffered_from) as usize + FRAME;
        let payload = &self.buffer[start..start + length];
        Ok(Some(Entry { position, next: self.next, payload }))
    }

    /// Continues at another position, which must be the position of a record.
    pub fn skip_to(&mut self, position: Position) {
        self.next = position;
        self.open = None;
        self.buffer.clear();
        self.buffered_from = position;
    }

    fn unread(&self) -> &[u8] {
        &self.buffer[self.next.since(self.buffered_from) as usize..]
    }

    /// The error for damage at this position: it names the position of the next whole record, in this segment or the one
    /// after it.
    fn damaged(&mut self, reason: &'static str) -> Result<LogError, LogError> {
        // Damage is rare, so the whole rest of the segment may be searched at once.
        self.ensure_buffered(usize::MAX)?;
        let within = next_whole(self.unread()).map(|skip| self.next.plus(skip as u64));
        let resume = within.or_else(|| self.open.as_ref().and_then(|open| open.until));
        self.buffer = Vec::new();
        self.buffered_from = self.next;
        Ok(LogError::Damaged { position: self.next, resume, reason })
    }

    /// Opens the segment that contains the next record.
    fn ensure_open(&mut self) -> Result<(), LogError> {
        let is_inside = |open: &Open<S>| open.until.is_none_or(|until| self.next < until);
        // The last known segment may have a successor by now.
        if self.open.as_ref().is_some_and(|open| is_inside(open) && open.until.is_some()) {
            return Ok(());
        }
        if self.open.is_some() && !self.buffer.is_empty() && self.unread().len() >= FRAME {
            return Ok(());
        }
        self.open_segment()
    }

    fn open_segment(&mut self) -> Result<(), LogError> {
        let names = self.storage.list().map_err(LogError::io("list the files of", "the log"))?;
        let mut bases: Vec<_> = names.iter().filter_map(|name| segment::base(name)).collect();
        bases.sort_unstable();
        let after = bases.partition_point(|base| *base <= self.next);
        let (base, until) = match after.checked_sub(1) {
            Some(inside) => (bases[inside], bases.get(after).copied()),
            // The segment of the next record was discarded: continue with the oldest one kept.
            None => {
                let Some(oldest) = bases.first().copied() else {
                    let (position, reason) = (self.next, "its segment is gone");
                    return Err(LogError::Damaged { position, resume: None, reason });
                };
                self.skip_to(oldest);
                (oldest, bases.get(1).copied())
            }
        };
        let same = self.open.as_ref().is_some_and(|open| open.base == base);
        if !same {
            self.buffer.clear();
            self.buffered_from = self.next;
        }
        let name = segment::name(base);
        let file = self.storage.open(&name).map_err(LogError::io("open", &name))?;
        self.open = Some(Open { base, until, file });
        Ok(())
    }

    /// Reads until this many bytes of the next record are in the buffer, or there are no more.
    fn ensure_buffered(&mut self, length: usize) -> Result<(), LogError> {
        if self.unread().len() >= length {
            return Ok(());
        }
        let Some(open) = &self.open else { return Ok(()) };
        let end = open.until.unwrap_or(Position::new(u64::MAX)).min(self.shared.end());
        let consumed = self.next.since(self.buffered_from) as usize;
        self.buffer.drain(..consumed);
        self.buffered_from = self.next;
        let have = self.buffer.len();
        let available = usize::try_from(end.since(self.next)).unwrap_or(usize::MAX);
        let wanted = length.max(CHUNK).min(available);
        if wanted <= have {
            return Ok(());
        }
        self.buffer.resize(wanted, 0);
        let offset = HEADER + self.next.since(open.base) + have as u64;
        let name = segment::name(open.base);
        let read = open.file.read_at(&mut self.buffer[have..], offset);
        self.buffer.truncate(have + *read.as_ref().unwrap_or(&0));
        read.map(|_| ()).map_err(LogError::io("read", &name))
    }
}

impl<S: Storage> fmt::Debug for Reader<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("next", &self.next).finish_non_exhaustive()
    }
}
