//! The thread that writes the log: whatever was accepted while it wrote goes to the disk with its next write.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;
use poa_core::telemetry::{Counter, Gauge, Histogram, Telemetry};
use poa_core::{Message, error_chain};
use poa_log::{LogError, Position};
use tokio::sync::{mpsc, oneshot};

use crate::local::Local;
use crate::opening::OpenLog;
use crate::pending::{Pending, Untaken};
use crate::promise::Stored;
use crate::settling::{Settling, settle};
use crate::state::{Stage, State};

/// How often cursors are written and space is given back.
pub(crate) const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// How soon a log that failed is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// After a group of more than a few, the next one is given this long to gather. A sync costs the processor as much as a dozen requests, so
/// larger groups serve everybody sooner. Who publishes alone never waits.
const GATHER: Duration = Duration::from_micros(50);
const MORE_THAN_A_FEW: usize = 4;

/// As long as nobody waits for the disk, a group may gather for longer: what was promised no more than memory loses no more than this by
/// a crash, and its syncs cost next to nothing. It ends as soon as somebody does wait, or there is much to write.
const LINGER: Duration = Duration::from_millis(2);

/// Writes what the engine accepts, in a thread of its own, until it is closed. The receiver is told when the thread has ended.
///
/// Where the subscribers are is on the disk when this returns: after a crash, one that is new must not start behind what was
/// acknowledged meanwhile.
///
/// # Errors
/// When that cannot be written, or no thread can be started.
pub(crate) fn start(
    mut open: OpenLog,
    local: Arc<Local>,
    telemetry: &Telemetry,
) -> io::Result<oneshot::Receiver<()>> {
    let cursors = local.state.lock().cursors();
    if let Err(error) = open.cursors.write(cursors.clone()) {
        // A full disk must not keep those from what waits for them that were known before: they get a little again at worst.
        if !open.cursors.written().know(&cursors) {
            return Err(error);
        }
        tracing::warn!("cannot write how far receivers have come, trying again later: {error}");
    }
    let (sender, stored) = mpsc::unbounded_channel();
    let committer = Committer::new(local.clone(), open, telemetry, sender);
    let (end, ended) = oneshot::channel();
    let run = move || {
        committer.run();
        // Only now, when the log may be opened again. A host that was dropped does not wait.
        let _ = end.send(());
    };
    std::thread::Builder::new().name("poa-log".into()).spawn(run)?;
    tokio::spawn(Settling::new(local, stored).run());
    Ok(ended)
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
    local: Arc<Local>,
    open: OpenLog,
    metrics: Metrics,
    /// To the task that tells those who wait; see [`Settling`].
    stored: mpsc::UnboundedSender<Stored>,
    /// What is being written.
    writing: Pending,
    /// What the log did not take, and was promised no more than memory. It comes before everything that came later.
    untaken: Untaken,
    housekept: Instant,
    /// How many events the last group had.
    last_group: usize,
    /// How long a group may gather that nobody waits for.
    linger: Duration,
}

/// A thread that panics must not leave agents waiting: those who wait are told, and new messages are refused.
impl Drop for Committer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(
                "the thread that writes the log panicked; messages are refused until the host is restarted"
            );
        }
        self.give_up();
        let mut state = self.local.state.lock();
        state.close();
        state.notes.clear();
    }
}

impl Committer {
    fn new(
        local: Arc<Local>,
        open: OpenLog,
        telemetry: &Telemetry,
        stored: mpsc::UnboundedSender<Stored>,
    ) -> Self {
        Self {
            local,
            open,
            metrics: Metrics::new(telemetry),
            stored,
            writing: Pending::default(),
            untaken: Untaken::default(),
            housekept: Instant::now(),
            last_group: 0,
            linger: LINGER,
        }
    }

    fn run(mut self) {
        while self.next_group() {
            if !self.writing.is_empty() {
                self.commit();
            }
            if self.housekept.elapsed() >= HOUSEKEEPING || self.is_asked_for_notes() {
                self.housekeep();
            }
        }
        self.local.state.lock().close();
        self.wait_for_subscribers();
        self.housekeep();
    }

    /// Takes what was accepted; waits when there is nothing. False once the bus is closing and nothing is left.
    fn next_group(&mut self) -> bool {
        if let Some(untaken) = self.untaken.next() {
            self.writing = untaken;
            return true;
        }
        let mut state = self.local.state.lock();
        state.accept_changes();
        if is_idle(&state) {
            if state.stage >= Stage::Closing {
                return false;
            }
            self.local.work.wait_for(&mut state, HOUSEKEEPING);
        }
        if self.last_group > MORE_THAN_A_FEW && has_pending(&state) {
            self.gather(&mut state);
        }
        self.last_group = state.pending.as_ref().map_or(0, |pending| pending.entries.len());
        if let Some(pending) = &mut state.pending {
            std::mem::swap(pending, &mut self.writing);
        }
        true
    }

    /// Lets a group grow before it is written.
    fn gather(&self, state: &mut MutexGuard<'_, State>) {
        if state.may_linger() {
            state.lingering = true;
            self.local.work.wait_for(state, self.linger);
            state.lingering = false;
        } else {
            MutexGuard::unlocked(state, || std::thread::sleep(GATHER));
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
                self.release(begin.get());
            }
            Err(error) => self.refuse(&error),
        }
    }

    /// Makes the group that was written known.
    fn release(&mut self, begin: u64) {
        let (end, untaken) = (self.open.log.end().get(), self.untaken.bytes());
        let (stored, garbage) = {
            let mut state = self.local.state.lock();
            state.untaken = untaken;
            let stored = state.keep_promises(&mut self.writing, begin);
            let garbage = state.release_group(self.writing.entries.drain(..), begin, end);
            (stored, garbage)
        };
        drop(garbage);
        self.writing.clear();
        if let Err(unsent) = self.stored.send(stored) {
            // The runtime is going, and with it those who wait.
            settle(&self.local, unsent.0);
        }
    }

    /// The log cannot be written: tells those who wait, and gives it time to recover. What stays is tried again, unless the host stops.
    fn refuse(&mut self, error: &LogError) {
        self.metrics.failures.inc();
        let error = error_chain(error);
        tracing::error!("messages are refused, the log cannot be written: {error}");
        self.set_aside();
        if self.local.state.lock().stage >= Stage::Closing {
            self.give_up();
        } else {
            std::thread::sleep(RETRY);
        }
    }

    /// Keeps what was promised to nobody of all that waits for the log, and tells the others that theirs is not stored.
    fn set_aside(&mut self) {
        let mut writing = std::mem::take(&mut self.writing);
        let mut later =
            self.local.state.lock().pending.replace(Pending::default()).unwrap_or_default();
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
        let mut state = self.local.state.lock();
        state.untaken = untaken;
        failed.into_iter().for_each(|key| state.keys.fail(key));
    }

    /// Nothing will be written any more.
    fn give_up(&mut self) {
        self.set_aside();
        let lost = self.untaken.give_up();
        if !lost.is_empty() {
            let messages = lost.len();
            tracing::error!(messages, "lost, because the host stops and the log cannot be written");
        }
        let mut state = self.local.state.lock();
        state.untaken = 0;
        state.lost += lost.len() as u64;
        let keys = lost.iter().filter_map(Message::idempotency_key);
        keys.for_each(|key| state.keys.fail(key));
    }

    fn is_asked_for_notes(&self) -> bool {
        !self.local.state.lock().notes.is_empty()
    }

    fn housekeep(&mut self) {
        self.housekept = Instant::now();
        let (cursors, notes) = {
            let mut state = self.local.state.lock();
            (state.cursors(), std::mem::take(&mut state.notes))
        };
        let oldest = Position::new(cursors.oldest());
        // Space goes only once it is on the disk that no subscriber needs it.
        let written = self.open.cursors.write(cursors).map_err(|error| error.to_string());
        for note in notes {
            let _ = note.send(written.as_ref().map(|_| ()).map_err(Clone::clone));
        }
        let freed = written.and_then(|_| {
            self.open.log.discard_before(oldest).map_err(|error| error_chain(&error))
        });
        self.metrics.held.set(self.open.log.end().since(self.open.log.begin()) as i64);
        if let Err(error) = freed {
            tracing::warn!("cannot write how far receivers have come, or give back space: {error}");
        }
    }

    /// Subscribers still drain; what they confirm is kept, until they have ended.
    fn wait_for_subscribers(&mut self) {
        loop {
            let mut state = self.local.state.lock();
            if state.stage == Stage::Finished {
                return;
            }
            self.local.work.wait_for(&mut state, HOUSEKEEPING);
            drop(state);
            self.housekeep();
        }
    }
}

/// Whether there is nothing to do.
fn is_idle(state: &State) -> bool {
    !has_pending(state) && state.notes.is_empty()
}

fn has_pending(state: &State) -> bool {
    state.pending.as_ref().is_some_and(|pending| !pending.is_empty())
}
#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use poa_core::engine::{
        Acks, BusSettings, Receipt, ReceiptError, Refused, SubscriptionRequest,
    };
    use poa_core::{Ack, AgentId, BuildContext, DataTypes, Draft, Payload, ReceiverOptions};

    /// An engine with a type `a`, of which no more is promised than memory, a type `b` that is stored, and a subscriber; and its
    /// committer.
    fn committer(dir: &Path, linger: Duration) -> (Arc<Local>, Committer) {
        let types = DataTypes::new(["a", "b"]).unwrap();
        let ack = |data_type: &poa_core::DataType| match data_type.name() {
            "a" => Ack::Memory,
            _ => Ack::Stored,
        };
        let settings = BusSettings::new(Acks::new(&types, ack, HOUSEKEEPING));
        let open = OpenLog::open(dir, types.clone(), poa_log::Options::default()).unwrap();
        let cx = BuildContext::detached("log", dir).with_data_types(types.clone());
        let cx = cx.with_bus(settings);
        let past = open.past(cx.bus().keys);
        let local = Local::on_log(&cx, open.readers(), open.end(), past);
        local.open();
        let options = ReceiverOptions::subscribe(["a", "b"]);
        let request = SubscriptionRequest::new("r", types.iter().collect(), &options);
        let _handle = local.subscribe(&request, options.backlog, None);
        // The task that settles is not there; the committer does it itself then.
        let (stored, _) = mpsc::unbounded_channel();
        let mut committer = Committer::new(local.clone(), open, &Telemetry::default(), stored);
        (committer.last_group, committer.linger) = (MORE_THAN_A_FEW + 1, linger);
        (local, committer)
    }

    fn draft(name: &str) -> impl Fn(&Local) -> Draft {
        let name = name.to_owned();
        move |local| {
            let types = &local.log.as_ref().unwrap().types;
            let payload = Payload::json(&serde_json::json!({})).unwrap();
            let agent = AgentId::new("agent").unwrap();
            Draft::new(agent, types.get(&name).unwrap().clone(), payload)
        }
    }

    fn publish(local: &Local, name: &str, count: usize) -> Result<Receipt, Refused> {
        let drafts: Vec<_> = (0..count).map(|_| draft(name)(local)).collect();
        local.publish(drafts.into()).map_err(Refused::from)
    }

    /// What is left of a committer that panicked is its drop.
    #[tokio::test]
    async fn without_its_thread_an_engine_leaves_no_agent_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let (local, committer) = committer(dir.path(), LINGER);
        let receipt = publish(&local, "b", 1).unwrap();
        drop(committer);
        assert_eq!(receipt.await, Err(ReceiptError::NotStored));
        assert_eq!(publish(&local, "b", 1).unwrap_err(), Refused::Stopping);
    }

    /// With a lingering that would never end by itself.
    #[tokio::test]
    async fn a_message_that_is_to_be_stored_or_a_stop_ends_the_lingering() {
        let dir = tempfile::tempdir().unwrap();
        let (local, committer) = committer(dir.path(), Duration::from_secs(3600));
        let thread = std::thread::spawn(move || committer.run());
        publish(&local, "a", 1).unwrap().await.unwrap();
        let stored = publish(&local, "b", 1).unwrap();
        tokio::time::timeout(Duration::from_secs(60), stored).await.unwrap().unwrap();
        for _ in 0..2 {
            publish(&local, "a", 10).unwrap().await.unwrap();
        }
        local.close();
        local.finish();
        thread.join().unwrap();
        assert!(!has_pending(&local.state.lock()));
    }
}
