//! The writing side.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::recovery::{self, Recovered};
use crate::segment::{self, HEADER};
use crate::storage::{Storage, WriteAt};
use crate::{Group, LogError, Position, Reader};

/// How a log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// A segment that has this many bytes is followed by a new one. Space is given back a segment at a time.
    pub segment_bytes: u64,
    /// By how much a segment is filled with zeros in advance, whenever its records have reached the end of its file.
    ///
    /// To sync bytes that overwrite others takes about half the time of syncing bytes that make a file longer, because the file system
    /// has no change of its own to write down.
    pub fill_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, fill_bytes: 1 << 20 }
    }
}

impl Options {
    /// The same with segments of this size.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// The same with segments filled by this much in advance.
    #[must_use]
    pub fn fill_bytes(mut self, bytes: usize) -> Self {
        self.fill_bytes = bytes;
        self
    }
}

/// An append-only log. There is one for each directory, and it has the one writer; readers are made by
/// [`reader`](Self::reader).
#[derive(Debug)]
pub struct Log<S: Storage> {
    pub(crate) storage: Arc<S>,
    options: Options,
    pub(crate) shared: Arc<Shared>,
    /// Where each segment begins, the oldest first.
    pub(crate) segments: Vec<Position>,
    /// The last segment, unless the next append has to begin a new one.
    pub(crate) current: Option<S::Writer>,
    /// How long the last segment's file is, as far as it was filled in advance.
    filled: u64,
    /// Whether a segment was removed whose name may still come back.
    removed: bool,
}

/// What readers see of the writer.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Everything before this position is durable.
    pub(crate) end: AtomicU64,
}

impl Shared {
    pub(crate) fn end(&self) -> Position {
        Position::new(self.end.load(Ordering::Acquire))
    }
}

/// Makes readers of one log. Cloning is cheap.
#[derive(Debug)]
pub struct Readers<S> {
    storage: Arc<S>,
    shared: Arc<Shared>,
}

impl<S> Clone for Readers<S> {
    fn clone(&self) -> Self {
        Self { storage: self.storage.clone(), shared: self.shared.clone() }
    }
}

impl<S: Storage> Readers<S> {
    /// A reader that begins at this position, or at the oldest record kept if that is later.
    #[must_use]
    pub fn reader(&self, from: Position) -> Reader<S> {
        Reader::new(self.storage.clone(), self.shared.clone(), from)
    }
}

/// Fills the file from this offset on, and returns by how many bytes.
fn fill(file: &mut impl WriteAt, offset: u64, bytes: usize) -> u64 {
    match file.write_at(&vec![0; bytes], offset) {
        Ok(()) => bytes as u64,
        // A disk too full for that may still have room for records, and others need room, too.
        Err(_) => {
            let _ = file.set_len(offset);
            0
        }
    }
}

impl<S: Storage> Log<S> {
    /// Opens the log in this storage, or begins one. A torn tail is cut, damage before the last record is not; see [`Recovered`].
    ///
    /// # Errors
    /// When the storage fails, or holds something else than a log of this format.
    pub fn open(storage: S, options: Options) -> Result<(Self, Recovered), LogError> {
        let storage = Arc::new(storage);
        let found = recovery::recover(&*storage)?;
        let shared = Arc::new(Shared { end: AtomicU64::new(found.end.get()) });
        let log = Self {
            storage,
            options,
            shared,
            segments: found.segments,
            current: found.current,
            filled: 0,
            removed: false,
        };
        Ok((log, found.report))
    }

    /// Appends a group. When this returns, all of it is durable.
    ///
    /// Returns the position of its first record.
    ///
    /// # Errors
    /// When the storage fails. No reader will see any of the group then, and the log can be appended to again: once there is
    /// room, for example.
    pub fn append(&mut self, group: &Group) -> Result<Position, LogError> {
        let begin = self.end();
        let length = group.bytes().len() as u64;
        if self.must_rotate(begin, length) {
            self.rotate(begin)?;
        }
        if let Err(error) = self.write(group.bytes(), begin) {
            self.abandon_tail(begin);
            return Err(error);
        }
        self.shared.end.store(begin.plus(length).get(), Ordering::Release);
        Ok(begin)
    }

    fn must_rotate(&self, begin: Position, length: u64) -> bool {
        let (Some(_), Some(base)) = (&self.current, self.segments.last()) else { return true };
        let used = begin.since(*base);
        used > 0 && used + length > self.options.segment_bytes
    }

    /// Begins a new segment at this position.
    fn rotate(&mut self, base: Position) -> Result<(), LogError> {
        let name = segment::name(base);
        self.finish_segment(base);
        let mut file = self.storage.create(&name).map_err(LogError::io("create", &name))?;
        file.write_at(&segment::header(base), 0).map_err(LogError::io("write to", &name))?;
        file.sync().map_err(LogError::io("sync", &name))?;
        self.storage.sync_names().map_err(LogError::io("sync the directory of", &name))?;
        if self.segments.last() != Some(&base) {
            self.segments.push(base);
        }
        self.current = Some(file);
        self.filled = HEADER;
        Ok(())
    }

    /// Gives back what was filled in advance of the last segment and will not be used.
    fn finish_segment(&mut self, end: Position) {
        if let (Some(mut file), Some(base)) = (self.current.take(), self.segments.last()) {
            // Nothing is lost when it stays: readers stop where the next segment begins.
            let _ = file.set_len(HEADER + end.since(*base));
        }
    }

    fn write(&mut self, bytes: &[u8], begin: Position) -> Result<(), LogError> {
        let base = self.segments.last().copied().unwrap_or_default();
        let name = segment::name(base);
        let file = self.current.as_mut().expect("rotate has just made it, or it was there");
        let offset = HEADER + begin.since(base);
        file.write_at(bytes, offset).map_err(LogError::io("write to", &name))?;
        let end = offset + bytes.len() as u64;
        if end > self.filled {
            self.filled = end + fill(file, end, self.options.fill_bytes);
        }
        file.sync().map_err(LogError::io("sync", &name))
    }

    /// After a failed write nobody knows what stands behind `end`. It is cut, and the next group goes into a new segment,
    /// because a file whose sync has failed once is not to be trusted again.
    fn abandon_tail(&mut self, end: Position) {
        let base = self.segments.last().copied().unwrap_or_default();
        if let Some(mut file) = self.current.take() {
            // If this fails too, the beginning of the next segment tells where this one ends.
            let _ = file.set_len(HEADER + end.since(base));
        }
    }

    /// Where the next record will stand. Everything before it is durable.
    #[must_use]
    pub fn end(&self) -> Position {
        self.shared.end()
    }

    /// Where the oldest record stands that is still kept.
    #[must_use]
    pub fn begin(&self) -> Position {
        self.segments.first().copied().unwrap_or_else(|| self.end())
    }

    /// A reader that begins at this position, or at the oldest record kept if that is later.
    #[must_use]
    pub fn reader(&self, from: Position) -> Reader<S> {
        self.readers().reader(from)
    }

    /// Makes readers where the log itself is out of reach.
    #[must_use]
    pub fn readers(&self) -> Readers<S> {
        Readers { storage: self.storage.clone(), shared: self.shared.clone() }
    }

    /// Gives back the space of segments that lie wholly before this position. Returns the bytes given back.
    ///
    /// # Errors
    /// When a file cannot be removed, or it cannot be known that it is gone for good. Those before it are.
    pub fn discard_before(&mut self, position: Position) -> Result<u64, LogError> {
        let mut freed = 0;
        while let [first, second, ..] = self.segments[..] {
            if second > position {
                break;
            }
            self.sync_removed()?;
            let name = segment::name(first);
            self.storage.remove(&name).map_err(LogError::io("remove", &name))?;
            self.segments.remove(0);
            self.removed = true;
            freed += second.since(first);
        }
        self.sync_removed()?;
        Ok(freed)
    }

    /// A segment must not come back after a power cut when a later one does not: nobody would know where it ends.
    fn sync_removed(&mut self) -> Result<(), LogError> {
        if self.removed {
            let names = "the segments discarded";
            self.storage.sync_names().map_err(LogError::io("sync the directory of", names))?;
            self.removed = false;
        }
        Ok(())
    }
}
