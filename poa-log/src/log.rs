//! The writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::recovery::{self, Recovered};
use crate::segment::{self, HEADER};
use crate::storage::{Storage, WriteAt};
use crate::{Group, LogError, Position, Reader};

/// The options of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// The size of a segment, in bytes, after which a new one is created. Space is released one segment at a time.
    pub segment_bytes: u64,
    /// The number of bytes by which a segment is filled with zeros in advance, whenever its records have reached the end of its file.
    ///
    /// To sync bytes that overwrite others takes about half the time of syncing bytes that extend a file, because the file system does
    /// not have to record a change of its own.
    pub fill_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, fill_bytes: 1 << 20 }
    }
}

impl Options {
    /// The same options with segments of this size.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// The same options with segments filled by this much in advance.
    #[must_use]
    pub fn fill_bytes(mut self, bytes: usize) -> Self {
        self.fill_bytes = bytes;
        self
    }
}

/// An append-only log. There is one per directory, with a single writer; readers are created by [`reader`](Self::reader).
#[derive(Debug)]
pub struct Log<S: Storage> {
    pub(crate) storage: Arc<S>,
    options: Options,
    pub(crate) shared: Arc<Shared>,
    /// The position at which each segment begins, the oldest first.
    pub(crate) segments: Vec<Position>,
    /// The last segment, unless the next append has to create a new one.
    pub(crate) current: Option<S::Writer>,
    /// The length of the last segment's file, as far as it was filled in advance.
    filled: u64,
    /// Whether a removed segment's name may still come back after a crash.
    removed: bool,
}

/// The part of the writer that readers see.
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

/// Creates readers of one log. Cloning is cheap.
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
    /// A reader that starts at this position, or at the oldest record kept if that is later.
    #[must_use]
    pub fn reader(&self, from: Position) -> Reader<S> {
        Reader::new(self.storage.clone(), self.shared.clone(), from)
    }
}

/// Fills the file from this offset on, and returns the number of bytes added.
fn fill(file: &mut impl WriteAt, offset: u64, bytes: usize) -> u64 {
    match file.write_at(&vec![0; bytes], offset) {
        Ok(()) => bytes as u64,
        // A disk that is too full for that may still have space for records, and other programs need space, too.
        Err(_) => {
            let _ = file.set_len(offset);
            0
        }
    }
}

impl<S: Storage> Log<S> {
    /// Opens the log in this storage, or creates one. A torn tail is cut, damage before the last record is not; see [`Recovered`].
    ///
    /// # Errors
    /// When the storage fails, or holds anything other than a log of this format.
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
    /// When the storage fails. No reader will see any part of the group then, and the log can be appended to again: once there is
    /// space, for example.
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

    /// Creates a new segment at this position.
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

    /// Releases the part of the last segment that was filled in advance and will not be used.
    fn finish_segment(&mut self, end: Position) {
        if let (Some(mut file), Some(base)) = (self.current.take(), self.segments.last()) {
            // No data is lost if it stays: readers stop where the next segment begins.
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

    /// After a failed write it is unknown which bytes follow `end`. They are cut, and the next group goes into a new segment, because
    /// a file whose sync has failed once cannot be trusted again.
    fn abandon_tail(&mut self, end: Position) {
        let base = self.segments.last().copied().unwrap_or_default();
        if let Some(mut file) = self.current.take() {
            // If this fails too, the beginning of the next segment marks the end of this one.
            let _ = file.set_len(HEADER + end.since(base));
        }
    }

    /// The position of the next record. Everything before it is durable.
    #[must_use]
    pub fn end(&self) -> Position {
        self.shared.end()
    }

    /// The position of the oldest record that is still kept.
    #[must_use]
    pub fn begin(&self) -> Position {
        self.segments.first().copied().unwrap_or_else(|| self.end())
    }

    /// A reader that starts at this position, or at the oldest record kept if that is later.
    #[must_use]
    pub fn reader(&self, from: Position) -> Reader<S> {
        self.readers().reader(from)
    }

    /// Creates readers independently of the log itself.
    #[must_use]
    pub fn readers(&self) -> Readers<S> {
        Readers { storage: self.storage.clone(), shared: self.shared.clone() }
    }

    /// Releases the space of segments that lie entirely before this position. Returns the number of bytes released.
    ///
    /// # Errors
    /// When a file cannot be removed, or its removal cannot be made durable. Those before it are removed.
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

    /// A segment must not reappear after a power cut when a later one does not: its end would be unknown.
    fn sync_removed(&mut self) -> Result<(), LogError> {
        if self.removed {
            let names = "the segments discarded";
            self.storage.sync_names().map_err(LogError::io("sync the directory of", names))?;
            self.removed = false;
        }
        Ok(())
    }
}
