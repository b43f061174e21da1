//! The thread that writes the log: whatever was accepted while it wrote goes to the disk with its next write.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use poa_log::{Directory, Log, LogError, Options, Position};

use parking_lot::MutexGuard;
use tokio::sync::mpsc;

use super::cursors::{CursorFile, Cursors};
use super::disk::LogReaders;
use super::keys::{KeyWindow, Keys};
use super::pending::Pending;
use super::queue::Stored;
use super::{Bus, Queue, codec};
use crate::DataTypes;
use crate::telemetry::{Counter, Gauge, Histogram, Telemetry};

/// How often cursors are written and space is given back, and how soon a log that failed is tried again.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_millis(200);

/// After a group of more than a few, the next one is given this long to gather. A sync costs the processor as much as a dozen requests, so
/// larger groups serve everybody sooner. Who publishes alone never waits.
const GATHER: Duration = Duration::from_micros(50);
const MORE_THAN_A_FEW: usize = 4;

/// A log that was opened and that nobody writes to yet.
#[derive(Debug)]
pub(crate) struct OpenLog {
    log: Log<Directory>,
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
    pub(crate) fn open(path: &Path, types: DataTypes) -> Result<Self, LogOpenError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| LogOpenError::Io { path, source }
        };
        let directory = Directory::open(path).map_err(io(path))?;
        let lock_path = path.join("lock");
        let lock = own_file(&lock_path).map_err(io(&lock_path))?;
        lock.try_lock().map_err(|_| LogOpenError::InUse { path: lock_path })?;
        let cursors = CursorFile::open(path).map_err(io(&path.join("cursors.json")))?;
        let (log, recovered) = Log::open(directory, Options::default())
            .map_err(|source| LogOpenError::Log { path: path.to_owned(), source })?;
        if recovered.torn_bytes > 0 {
            let (bytes, kept_in) = (recovered.torn_bytes, recovered.kept_in);
            tracing::warn!(
                bytes,
                ?kept_in,
                "cut the torn tail of the log; none of it was acknowledged"
            );
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

    /// What is free on the disk, in bytes, for those who may write here. Everything, if that cannot be told.
    pub(crate) fn free_bytes(&self) -> u64 {
        let found = rustix::fs::fstatvfs(&self.lock);
        found.map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// How far the receivers had come.
    pub(crate) fn cursors(&self) -> &Cursors {
        self.cursors.written()
    }

    /// The idempotency keys of the messages that are still in the log.
    pub(super) fn keys(&self, window: KeyWindow) -> Keys {
        let mut keys = Keys::new(window);
        let mut reader = self.log.reader(Position::new(self.cursors().keys_from()));
        loop {
            match reader.next() {
                Ok(Some(entry)) => {
                    if let Some((key, time)) = codec::decode_key(entry.payload) {
                        keys.store(key, time, entry.position.get());
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
        keys
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

    /// Writes what this bus accepts, in a thread of its own, until the bus is closed. The other half of the work is to be spawned.
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
    ) -> io::Result<(std::thread::JoinHandle<()>, Settling)> {
        let cursors = bus.queue.lock().cursors();
        self.cursors.write(cursors)?;
        let metrics = Metrics::new(telemetry);
        let (sender, stored) = mpsc::unbounded_channel();
        let settling = Settling { bus: bus.clone(), stored };
        let committer = Committer {
            bus,
            open: self,
            metrics,
            stored: sender,
            housekept: Instant::now(),
            last_group: 0,
        };
        let thread = std::thread::Builder::new().name("poa-log".into());
        Ok((thread.spawn(move || committer.run())?, settling))
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
    housekept: Instant,
    /// How many events the last group had.
    last_group: usize,
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
        let mut queue = self.bus.queue.lock();
        queue.closing = true;
        if let Some(pending) = &mut queue.pending {
            for key in pending.fail() {
                queue.keys.fail(key);
            }
        }
        queue.close();
    }
}

impl Committer {
    fn run(mut self) {
        let mut writing = Pending::default();
        while self.next_group(&mut writing) {
            if !writing.is_empty() {
                self.commit(&mut writing);
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
    fn next_group(&mut self, writing: &mut Pending) -> bool {
        let mut queue = self.bus.queue.lock();
        if is_idle(&queue) && writing.is_empty() {
            if queue.closing {
                return false;
            }
            self.bus.work.wait_for(&mut queue, HOUSEKEEPING);
        }
        if self.last_group > MORE_THAN_A_FEW && !is_idle(&queue) {
            MutexGuard::unlocked(&mut queue, || std::thread::sleep(GATHER));
        }
        self.last_group = queue.pending.as_ref().map_or(0, |pending| pending.entries.len());
        if let Some(pending) = &mut queue.pending {
            if writing.is_empty() {
                std::mem::swap(pending, writing);
            } else {
                writing.append(pending);
            }
        }
        true
    }

    /// Writes a group. What failed and was promised to nobody stays in it.
    fn commit(&mut self, writing: &mut Pending) {
        let started = Instant::now();
        let appended = self.open.log.append(&writing.group);
        self.metrics.seconds.observe(started.elapsed().as_secs_f64());
        match appended {
            Ok(begin) => {
                self.metrics.appends.inc();
                self.metrics.bytes.inc_by(writing.group.bytes().len() as u64);
                let end = self.open.log.end();
                let stored = self.bus.queue.lock().release_all(writing, begin.get(), end.get());
                writing.clear();
                if let Err(unsent) = self.stored.send(stored) {
                    // The runtime is going, and whoever waits goes with it.
                    settle(&self.bus, unsent.0);
                }
            }
            Err(error) => self.refuse(writing, &error),
        }
    }

    /// The log cannot be written: tells those who wait, and gives it time to recover. What stays is tried again, unless the host stops.
    fn refuse(&mut self, writing: &mut Pending, error: &LogError) {
        self.metrics.failures.inc();
        let error = crate::delivery::chain(error);
        tracing::error!("messages are refused, the log cannot be written: {error}");
        let failed = writing.fail();
        let closing = {
            let mut queue = self.bus.queue.lock();
            failed.into_iter().for_each(|key| queue.keys.fail(key));
            queue.closing
        };
        if closing {
            let messages = writing.entries.len();
            tracing::error!(messages, "lost, because the host stops and the log cannot be written");
            writing.clear();
        } else {
            std::thread::sleep(RETRY);
        }
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
    use crate::{Ack, AgentId, Draft, Payload, ReceiverOptions};

    /// What is left of a committer that panicked is its drop.
    #[tokio::test]
    async fn without_its_thread_a_bus_leaves_nobody_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let types = DataTypes::new(["a"]).unwrap();
        let open = OpenLog::open(dir.path(), types.clone()).unwrap();
        let acks = Acks { by_type: [Ack::Stored].into(), delivered_within: HOUSEKEEPING };
        let bus = Bus::on_log(types.clone(), acks, BusCounts::default(), &open);
        let data_type = types.get("a").unwrap();
        let mut set = TypeSet::default();
        set.insert(data_type);
        let options = ReceiverOptions::subscribe(["a"]);
        let _reader = bus.subscribe("r", set, &options, ReaderCounts::default(), None);
        let draft = || {
            let payload = Payload::json(&serde_json::json!({})).unwrap();
            Draft::new(AgentId::new("agent").unwrap(), data_type.clone(), payload)
        };
        let (stored, _settling) = mpsc::unbounded_channel();
        let metrics = Metrics::new(&Telemetry::default());
        let (housekept, last_group) = (Instant::now(), 0);
        let committer =
            Committer { bus: bus.clone(), open, metrics, stored, housekept, last_group };
        let receipt = bus.publish([draft()]).unwrap();
        drop(committer);
        assert_eq!(receipt.await, Err(ReceiptError::NotStored));
        assert_eq!(bus.publish([draft()]).unwrap_err(), Refused::Stopping);
    }
}
