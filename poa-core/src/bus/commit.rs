//! The thread that writes the log: whatever was accepted while it wrote goes to the disk with its next write.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use poa_log::{Directory, Log, LogError, Options, Position};

use parking_lot::MutexGuard;
use tokio::sync::{mpsc, oneshot};

use super::cursors::{Cursor, CursorFile, Cursors};
use super::disk::LogReaders;
use super::keys::{KeyWindow, Keys};
use super::pending::{Pending, Untaken};
use super::queue::{Past, Stored};
use super::{Bus, Queue, codec};
use crate::id::IdGenerator;
use crate::telemetry::{Counter, Gauge, Histogram, Telemetry};
use crate::{DataTypes, Message};

/// How often cursors are written and space is given back, and how soon a log that failed is tried again.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_millis(200);

/// After a group of more than a few, the next one is given this long to gather. A sync costs the processor as much as a dozen requests, so
/// larger groups serve everybody sooner. Who publishes alone never waits.
const GATHER: Duration = Duration::from_micros(50);
const MORE_THAN_A_FEW: usize = 4;

/// As long as nobody waits for the disk, a group may gather for longer: what was promised no more than memory loses no more than this by
/// a crash, and its syncs cost next to nothing. It ends as soon as somebody does wait, or there is much to write.
const LINGER: Duration = Duration::from_millis(2);

/// A log that was opened and that nobody writes to yet.
#[derive(Debug)]
pub(crate) struct OpenLog {
    pub(super) log: Log<Directory>,
    cursors: CursorFile,
    types: DataTypes,
    /// Held as long as the log is open, so that a second process is refused.
    lock: File,
}

/// Why the log could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogOpenError {
    /// The directory or a file in it cannot be used.
    #[error("cannot open {path}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process writes this log.
    #[error("{path} is in use; is another server running with this data directory?")]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// The log itself cannot be read.
    #[error("cannot read the log in {path}")]
    Log {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: LogError,
    },
}

impl OpenLog {
    /// Opens the log in this directory, and makes it if it is not there.
    pub(crate) fn open(
        path: &Path,
        types: DataTypes,
        options: Options,
    ) -> Result<Self, LogOpenError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| LogOpenError::Io { path, source }
        };
        let directory = Directory::open(path).map_err(io(path))?;
        let lock_path = path.join("lock");
        let lock = own_file(&lock_path).map_err(io(&lock_path))?;
        lock.try_lock().map_err(|_| LogOpenError::InUse { path: lock_path })?;
        let mut cursors = CursorFile::open(path).map_err(io(&path.join("cursors.json")))?;
        let (log, recovered) = Log::open(directory, options)
            .map_err(|source| LogOpenError::Log { path: path.to_owned(), source })?;
        if recovered.torn_bytes > 0 {
            let (bytes, kept_in) = (recovered.torn_bytes, recovered.kept_in);
            tracing::warn!(
                bytes,
                ?kept_in,
                "cut the torn tail of the log; none of it was acknowledged"
            );
        }
        if recovered.damaged_bytes > 0 {
            let bytes = recovered.damaged_bytes;
            tracing::error!(
                bytes,
                "the log is damaged before its last record, and receivers that come there pass over it: the disk lost what it had, or \
                 the power went while that was being written, and it was not acknowledged"
            );
        }
        let has_records = log.end() > log.begin();
        if has_records && !cursors.is_there() {
            tracing::warn!(
                "cursors.json is missing in {}, so every receiver begins with the oldest message there is, and may get some again",
                path.display()
            );
            cursors.begin_at(Cursor { position: log.begin().get(), ..Cursor::default() });
        }
        Ok(Self { log, cursors, types, lock })
    }

    pub(super) fn end(&self) -> u64 {
        self.log.end().get()
    }

    pub(super) fn readers(&self) -> LogReaders {
        let begin = self.log.begin().get();
        LogReaders { readers: self.log.readers(), types: self.types.clone(), begin }
    }

    /// What the log has of the disk, in bytes: what is free for those who may write here, and what the log takes already, so that it
    /// is the same after a restart. Everything, if that cannot be told.
    pub(crate) fn disk_bytes(&self) -> u64 {
        let taken = self.log.end().since(self.log.begin());
        let found = rustix::fs::fstatvfs(&self.lock);
        found.map_or(u64::MAX, |disk| {
            disk.f_bavail.saturating_mul(disk.f_frsize).saturating_add(taken)
        })
    }

    /// How far the receivers had come.
    pub(crate) fn cursors(&self) -> &Cursors {
        self.cursors.written()
    }

    /// What the log tells of the messages that were taken before.
    pub(super) fn past(&self, window: KeyWindow) -> Past {
        let mut keys = Keys::new(window);
        let mut last_id = self.cursors().last_id();
        let mut reader = self.log.reader(Position::new(self.cursors().keys_from()));
        loop {
            match reader.next() {
                Ok(Some(entry)) => {
                    let Some(trace) = codec::trace(entry.payload) else { continue };
                    last_id = last_id.max(trace.id.time());
                    if let Some((key, fingerprint)) = trace.key {
                        keys.store(key, fingerprint, trace.received_at, entry.position.get());
                    }
                }
                Ok(None) => break,
                Err(LogError::Damaged { resume: Some(resume), .. }) => reader.skip_to(resume),
                Err(error) => {
                    let error = crate::delivery::chain(&error);
                    tracing::warn!("messages sent again may be stored twice: {error}");
                    break;
                }
            }
        }
        keys.forget_old(self.end());
        Past { keys, ids: IdGenerator::after(last_id) }
    }

    /// Warns of receivers that left something and are no longer there.
    pub(crate) fn warn_of_removed(&self, receivers: &[&str]) {
        for (receiver, messages) in self.cursors().left_by_others(receivers) {
            tracing::warn!(
                receiver,
                messages,
                "no longer configured; what waited for it is given up"
            );
        }
    }

    /// Writes what this bus accepts, in a thread of its own, until the bus is closed. The other half of the work is to be spawned. The
    /// receiver is told when the thread has ended.
    ///
    /// Where the readers of the bus begin is on the disk when this returns: after a crash, one that is new must not begin behind
    /// what was acknowledged meanwhile.
    ///
    /// # Errors
    /// When that cannot be written, or no thread be started.
    pub(crate) fn commit_for(
        mut self,
        bus: Arc<Bus>,
        telemetry: &Telemetry,
    ) -> io::Result<(oneshot::Receiver<()>, Settling)> {
        let cursors = bus.queue.lock().cursors();
        if let Err(error) = self.cursors.write(cursors.clone()) {
            // A full disk must not keep those from what waits for them that were known before: they get a little again at worst.
            if !self.cursors.written().know(&cursors) {
                return Err(error);
            }
            tracing::warn!("cannot write how far receivers have come, trying again later: {error}");
        }
        let metrics = Metrics::new(telemetry);
        let (sender, stored) = mpsc::unbounded_channel();
        let settling = Settling { bus: bus.clone(), stored };
        let committer = Committer {
            bus,
            open: self,
            metrics,
            stored: sender,
            writing: Pending::default(),
            untaken: Untaken::default(),
            housekept: Instant::now(),
            last_group: 0,
            linger: LINGER,
        };
        let (end, ended) = oneshot::channel();
        let run = move || {
            committer.run();
            // Only now, when the log may be opened again. A host that was dropped does not wait.
            let _ = end.send(());
        };
        std::thread::Builder::new().name("poa-log".into()).spawn(run)?;
        Ok((ended, settling))
    }
}

/// What the log does, for `/metrics`.
struct Metrics {
    seconds: Histogram,
    appends: Counter,
    bytes: Counter,
    failures: Counter,
    held: Gauge,
}

impl Metrics {
    fn new(telemetry: &Telemetry) -> Self {
        let counter = |name, help| telemetry.counter(name, help, &[]);
        Self {
            seconds: telemetry.histogram(
                "log_append_seconds",
                "How long it took to write and sync a group of records",
                &[],
            ),
            appends: counter("log_appends", "Groups of records written and synced"),
            bytes: counter("log_appended_bytes", "Bytes of records written and synced"),
            failures: counter("log_failures", "Groups of records that could not be written"),
            held: telemetry.gauge("log_bytes", "Bytes of records the log holds", &[]),
        }
    }
}

struct Committer {
    bus: Arc<Bus>,
    open: OpenLog,
    metrics: Metrics,
    /// To whoever tells those who wait; see [`Settling`].
    stored: mpsc::UnboundedSender<Stored>,
    /// What is being written.
    writing: Pending,
    /// What the log did not take, and was promised to nobody. It stands before everything that came later.
    untaken: Untaken,
    housekept: Instant,
    /// How many events the last group had.
    last_group: usize,
    /// How long a group may gather that nobody waits for.
    linger: Duration,
}

/// Tells those who wait that their messages are stored, and wakes the readers.
///
/// A task does that, and not the thread that writes: waking a task from a thread that is not the runtime's costs a system call, and
/// here it is one for a group instead of one for each message.
#[derive(Debug)]
pub(crate) struct Settling {
    bus: Arc<Bus>,
    stored: mpsc::UnboundedReceiver<Stored>,
}

impl Settling {
    /// Until the log is closed.
    pub(crate) async fn run(mut self) {
        while let Some(stored) = self.stored.recv().await {
            settle(&self.bus, stored);
        }
    }
}

fn settle(bus: &Bus, stored: Stored) {
    stored.iter().for_each(|waiter| waiter.confirm(true));
    bus.queue.lock().wake_readers();
}

/// A thread that panics must not leave agents waiting: whoever waits is told, and whoever comes is refused.
impl Drop for Committer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(
                "the thread that writes the log panicked; messages are refused until the host is started anew"
            );
        }
        self.give_up();
        let mut queue = self.bus.queue.lock();
        queue.closing = true;
        queue.close();
    }
}

impl Committer {
    fn run(mut self) {
        while self.next_group() {
            if !self.writing.is_empty() {
                self.commit();
            }
            if self.housekept.elapsed() >= HOUSEKEEPING {
                self.housekeep();
            }
        }
        self.bus.queue.lock().close();
        self.wait_for_readers();
        self.housekeep();
    }

    /// Takes what was accepted; waits when there is nothing. False once the bus is closing and nothing is left.
    fn next_group(&mut self) -> bool {
        if let Some(untaken) = self.untaken.next() {
            self.writing = untaken;
            return true;
        }
        let mut queue = self.bus.queue.lock();
        queue.accept_changes();
        if is_idle(&queue) {
            if queue.closing {
                return false;
            }
            self.bus.work.wait_for(&mut queue, HOUSEKEEPING);
        }
        if self.last_group > MORE_THAN_A_FEW && !is_idle(&queue) {
            self.gather(&mut queue);
        }
        self.last_group = queue.pending.as_ref().map_or(0, |pending| pending.entries.len());
        if let Some(pending) = &mut queue.pending {
            std::mem::swap(pending, &mut self.writing);
        }
        true
    }

    /// Lets a group grow before it is written.
    fn gather(&self, queue: &mut MutexGuard<'_, Queue>) {
        if queue.may_linger() {
            queue.lingering = true;
            self.bus.work.wait_for(queue, self.linger);
            queue.lingering = false;
        } else {
            MutexGuard::unlocked(queue, || std::thread::sleep(GATHER));
        }
    }

    /// Writes a group.
    fn commit(&mut self) {
        let started = Instant::now();
        let appended = self.open.log.append(&self.writing.group);
        self.metrics.seconds.observe(started.elapsed().as_secs_f64());
        match appended {
            Ok(begin) => {
                self.metrics.appends.inc();
                self.metrics.bytes.inc_by(self.writing.bytes() as u64);
                let end = self.open.log.end();
                let untaken = self.untaken.bytes();
                let stored = {
                    let mut queue = self.bus.queue.lock();
                    queue.untaken = untaken;
                    queue.release_all(&mut self.writing, begin.get(), end.get())
                };
                self.writing.clear();
                if let Err(unsent) = self.stored.send(stored) {
                    // The runtime is going, and whoever waits goes with it.
                    settle(&self.bus, unsent.0);
                }
            }
            Err(error) => self.refuse(&error),
        }
    }

    /// The log cannot be written: tells those who wait, and gives it time to recover. What stays is tried again, unless the host stops.
    fn refuse(&mut self, error: &LogError) {
        self.metrics.failures.inc();
        let error = crate::delivery::chain(error);
        tracing::error!("messages are refused, the log cannot be written: {error}");
        self.set_aside();
        if self.bus.queue.lock().closing {
            self.give_up();
        } else {
            std::thread::sleep(RETRY);
        }
    }

    /// Keeps what was promised to nobody of all that waits for the log, and tells the others that theirs is not stored.
    fn set_aside(&mut self) {
        let mut writing = std::mem::take(&mut self.writing);
        let mut later =
            self.bus.queue.lock().pending.replace(Pending::default()).unwrap_or_default();
        let mut failed = Vec::new();
        if writing.is_small_and_promised_to_nobody() {
            self.untaken.put_back(writing);
        } else {
            // It came from the queue, so nothing is kept that is older.
            let (keys, kept) = writing.fail();
            self.untaken.keep(kept);
            failed.extend(keys);
        }
        let (keys, kept) = later.fail();
        self.untaken.keep(kept);
        failed.extend(keys);
        let untaken = self.untaken.bytes();
        let mut queue = self.bus.queue.lock();
        queue.untaken = untaken;
        failed.into_iter().for_each(|key| queue.keys.fail(key));
    }

    /// Nothing will be written any more.
    fn give_up(&mut self) {
        self.set_aside();
        let lost = self.untaken.give_up();
        if !lost.is_empty() {
            let messages = lost.len();
            tracing::error!(messages, "lost, because the host stops and the log cannot be written");
        }
        let mut queue = self.bus.queue.lock();
        queue.untaken = 0;
        queue.lost += lost.len() as u64;
        let keys = lost.iter().filter_map(Message::idempotency_key);
        keys.for_each(|key| queue.keys.fail(key));
    }

    fn housekeep(&mut self) {
        self.housekept = Instant::now();
        let cursors = self.bus.queue.lock().cursors();
        let oldest = Position::new(cursors.oldest());
        // Space goes only once it is on the disk that nobody needs it.
        let written = self.open.cursors.write(cursors).map_err(|error| error.to_string());
        let freed = written.and_then(|_| {
            self.open.log.discard_before(oldest).map_err(|error| crate::delivery::chain(&error))
        });
        self.metrics.held.set(self.open.log.end().since(self.open.log.begin()) as i64);
        if let Err(error) = freed {
            tracing::warn!("cannot write how far receivers have come, or give back space: {error}");
        }
    }

    /// Readers still drain; what they confirm is kept, until they have ended.
    fn wait_for_readers(&mut self) {
        loop {
            let mut queue = self.bus.queue.lock();
            if queue.finished {
                return;
            }
            self.bus.work.wait_for(&mut queue, HOUSEKEEPING);
            drop(queue);
            self.housekeep();
        }
    }
}

/// Makes a file that only its owner can read.
pub(super) fn own_file(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.create(true).write(true).truncate(true);
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn is_idle(queue: &Queue) -> bool {
    queue.pending.as_ref().is_none_or(Pending::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::{Acks, BusCounts, ReaderCounts, ReceiptError, Refused};
    use crate::data_type::TypeSet;
    use crate::{Ack, AgentId, Draft, Payload, ReceiverOptions, Timestamp};

    /// A message that was received in the future is in the log: the clock has stepped back.
    #[test]
    fn ids_go_on_after_those_in_the_log_and_those_that_were_noted() {
        let dir = tempfile::tempdir().unwrap();
        let types = DataTypes::new(["a"]).unwrap();
        let open = || OpenLog::open(dir.path(), types.clone(), Options::default()).unwrap();
        let later = |hours: u64| {
            Timestamp::from_micros(Timestamp::now().as_micros() + hours * 3_600_000_000)
        };
        let mut before = IdGenerator::new();
        let [stored, noted] = [before.next(later(1)), before.next(later(2))];
        let payload = Payload::json(&serde_json::json!({})).unwrap();
        let agent = AgentId::new("agent").unwrap();
        let draft = Draft::new(agent, types.get("a").unwrap().clone(), payload);
        let mut pending = Pending::default();
        pending.push(crate::bus::Event::Message(Message::stamp(draft, stored, later(1))));
        open().log.append(&pending.group).unwrap();
        let next = || open().past(KeyWindow::default()).ids.next(Timestamp::now());
        assert!(next() > stored && next() < noted);

        let mut opened = open();
        let cursors = Cursors::new(Default::default(), opened.end(), noted.time());
        opened.cursors.write(cursors).unwrap();
        drop(opened);
        assert!(next() > noted);
    }

    /// A bus with a type `a`, of which no more is promised than memory, a type `b` that is stored, and a reader; and its committer.
    fn committer(dir: &Path, linger: Duration) -> (Arc<Bus>, Committer) {
        let types = DataTypes::new(["a", "b"]).unwrap();
        let open = OpenLog::open(dir, types.clone(), Options::default()).unwrap();
        let by_type = [Ack::Memory, Ack::Stored].into();
        let acks = Acks { by_type, delivered_within: HOUSEKEEPING };
        let window = KeyWindow::default();
        let bus = Bus::on_log(types.clone(), acks, BusCounts::default(), window, &open);
        let mut set = TypeSet::default();
        ["a", "b"].iter().for_each(|name| set.insert(types.get(name).unwrap()));
        let options = ReceiverOptions::subscribe(["a", "b"]);
        let _reader = bus.subscribe("r", set, &options, ReaderCounts::default(), None);
        let metrics = Metrics::new(&Telemetry::default());
        // Nobody settles; the committer does it itself then.
        let (stored, _) = mpsc::unbounded_channel();
        let committer = Committer {
            bus: bus.clone(),
            open,
            metrics,
            stored,
            writing: Pending::default(),
            untaken: Untaken::default(),
            housekept: Instant::now(),
            last_group: MORE_THAN_A_FEW + 1,
            linger,
        };
        (bus, committer)
    }

    fn draft(bus: &Bus, name: &str) -> Draft {
        let payload = Payload::json(&serde_json::json!({})).unwrap();
        Draft::new(AgentId::new("agent").unwrap(), bus.types.get(name).unwrap().clone(), payload)
    }

    /// What is left of a committer that panicked is its drop.
    #[tokio::test]
    async fn without_its_thread_a_bus_leaves_nobody_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let (bus, committer) = committer(dir.path(), LINGER);
        let receipt = bus.publish([draft(&bus, "b")]).unwrap();
        drop(committer);
        assert_eq!(receipt.await, Err(ReceiptError::NotStored));
        assert_eq!(bus.publish([draft(&bus, "b")]).unwrap_err(), Refused::Stopping);
    }

    /// With a lingering that would never end by itself.
    #[tokio::test]
    async fn who_waits_for_the_disk_or_stops_ends_the_lingering() {
        let dir = tempfile::tempdir().unwrap();
        let (bus, committer) = committer(dir.path(), Duration::from_secs(3600));
        let thread = std::thread::spawn(move || committer.run());
        bus.publish([draft(&bus, "a")]).unwrap().await.unwrap();
        let stored = bus.publish([draft(&bus, "b")]).unwrap();
        tokio::time::timeout(Duration::from_secs(60), stored).await.unwrap().unwrap();
        for _ in 0..2 {
            let many: Vec<_> = (0..10).map(|_| draft(&bus, "a")).collect();
            bus.publish(many).unwrap().await.unwrap();
        }
        bus.close();
        bus.finish();
        thread.join().unwrap();
        assert!(bus.queue.lock().pending.as_ref().unwrap().is_empty());
    }
}
