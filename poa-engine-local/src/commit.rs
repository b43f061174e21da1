//! The thread that writes the log: everything that is accepted during one write goes to the disk with the next.

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
use crate::state::{Stage, State, Writer};

/// The interval at which cursors are written and space is released.
pub(crate) const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// The wait before a log that failed is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// After a group of more than a few messages, the next one may grow for this long: until it is as large as the last one, whose senders
/// may be waiting for their acknowledgements to send more. A sync costs as much processor time as a dozen requests, so larger groups make
/// every message durable sooner. A single publisher never waits.
const GATHER: Duration = Duration::from_micros(150);
const MORE_THAN_A_FEW: usize = 4;

/// As long as no receipt waits for the disk, a group may grow for longer: messages with `ack = "memory"` lose at most this much in a
/// crash, and their syncs cost next to nothing. The wait ends as soon as a receipt waits, or there is much to write.
const LINGER: Duration = Duration::from_millis(2);

/// Writes what the engine accepts, in a thread of its own, until the engine is closed. The returned channel reports the end of the thread.
///
/// The positions of the subscribers are durable when this returns: after a crash, a new subscriber must not start after a message that was
/// acknowledged meanwhile.
///
/// # Errors
/// When they cannot be written, or the thread cannot be started.
pub(crate) fn start(
    mut open: OpenLog,
    local: Arc<Local>,
    telemetry: &Telemetry,
) -> io::Result<oneshot::Receiver<()>> {
    let cursors = local.state.lock().cursors();
    if let Err(error) = open.cursors.write(cursors.clone()) {
        // A full disk must not block the delivery of known backlogs: at worst their receivers get a few messages again.
        if !open.cursors.written().know(&cursors) {
            return Err(error);
        }
        tracing::warn!("cannot write the cursors of the receivers, retrying later: {error}");
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

/// Measurements of the log, for `/metrics`.
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
                "Time to write and sync a group of records",
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
    /// To the task that settles receipts; see [`Settling`].
    stored: mpsc::UnboundedSender<Stored>,
    /// The group that is being written.
    writing: Pending,
    /// Events that the log did not take, with `ack = "memory"`. They precede everything accepted later.
    untaken: Untaken,
    housekept: Instant,
    /// The number of events in the last group.
    last_group: usize,
    /// The number of events in the next one, if the senders of the last one send more.
    expected: usize,
    /// How long a group may grow that receipts wait for.
    gather: Duration,
    /// How long a group may grow that no receipt waits for.
    linger: Duration,
}

/// A thread that panics must not leave agents waiting: their receipts fail, and new messages are refused.
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
            expected: 0,
            gather: GATHER,
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

    /// Takes the accepted events; waits if there are none. Returns false once the bus is closing and nothing is left.
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
        self.last_group = state.pending_events();
        if let Some(pending) = &mut state.pending {
            std::mem::swap(pending, &mut self.writing);
        }
        true
    }

    /// Lets a group grow before it is written.
    fn gather(&self, state: &mut MutexGuard<'_, State>) {
        let (writer, time) = if state.may_linger() {
            (Writer::Lingers, self.linger)
        } else if state.pending_events() < self.expected {
            (Writer::Gathers { until: self.expected }, self.gather)
        } else {
            return;
        };
        state.writer = writer;
        self.local.work.wait_for(state, time);
        state.writer = Writer::Ready;
    }

    /// Writes a group.
    fn commit(&mut self) {
        let group = self.writing.encoded();
        let bytes = group.bytes().len() as u64;
        let started = Instant::now();
        let appended = self.open.log.append(group);
        self.metrics.seconds.observe(started.elapsed().as_secs_f64());
        match appended {
            Ok(begin) => {
                self.metrics.appends.inc();
                self.metrics.bytes.inc_by(bytes);
                self.release(begin.get());
            }
            Err(error) => self.refuse(&error),
        }
    }

    /// Releases the group that was written to its subscribers.
    fn release(&mut self, begin: u64) {
        let (end, untaken) = (self.open.log.end().get(), self.untaken.bytes());
        let (stored, garbage) = {
            let mut state = self.local.state.lock();
            state.untaken = untaken;
            state.failure = None;
            self.expected = self.last_group + state.pending_events();
            let stored = state.keep_promises(&mut self.writing, begin);
            let garbage = state.release_group(self.writing.entries.drain(..), begin, end);
            (stored, garbage)
        };
        drop(garbage);
        self.writing.clear();
        if let Err(unsent) = self.stored.send(stored) {
            // The runtime is shutting down, and with it the tasks that wait.
            settle(&self.local, unsent.0);
        }
    }

    /// The log cannot be written: fails the receipts that wait for it, and gives it time to recover. The other events are tried again,
    /// unless the host stops.
    fn refuse(&mut self, error: &LogError) {
        self.metrics.failures.inc();
        let (path, error) = (self.open.path.display(), error_chain(error));
        let failure = format!(
            "the log in {path} cannot be written: {error}; make room or restore access, or restart if its files were removed"
        );
        tracing::error!("refusing messages, {failure}");
        self.local.state.lock().failure = Some(failure);
        self.set_aside();
        if self.local.state.lock().stage >= Stage::Closing {
            self.give_up();
        } else {
            std::thread::sleep(RETRY);
        }
    }

    /// Keeps the events of the queue that no receipt waits for, and fails the receipts of the others: they are not stored.
    fn set_aside(&mut self) {
        let mut writing = std::mem::take(&mut self.writing);
        let mut later =
            self.local.state.lock().pending.replace(Pending::default()).unwrap_or_default();
        let mut failed = Vec::new();
        if writing.is_small_and_promised_to_nobody() {
            self.untaken.put_back(writing);
        } else {
            // It came from the queue, so no older event is kept.
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
            tracing::error!(
                messages,
                "lost messages: the host stops and the log cannot be written"
            );
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
        // Space is released only after the cursors that no longer need it are durable.
        let written = self.open.cursors.write(cursors).map_err(|error| error.to_string());
        for note in notes {
            let _ = note.send(written.as_ref().map(|_| ()).map_err(Clone::clone));
        }
        let freed = written.and_then(|_| {
            self.open.log.discard_before(oldest).map_err(|error| error_chain(&error))
        });
        self.metrics.held.set(self.open.log.end().since(self.open.log.begin()) as i64);
        if let Err(error) = freed {
            tracing::warn!("cannot write the cursors of the receivers, or release space: {error}");
        }
    }

    /// Subscribers still drain; records what they confirm until they have ended.
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
    state.pending_events() > 0
}
#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use poa_core::engine::{
        Acks, BusSettings, Receipt, ReceiptError, Refused, SubscriptionRequest,
    };
    use poa_core::{Ack, AgentId, BuildContext, DataTypes, Draft, Payload, ReceiverOptions};

    /// An engine with a type `a` acknowledged from memory, a type `b` acknowledged as stored, and a subscriber; and its committer.
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
        // There is no settling task; the committer then settles by itself.
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

    /// After a panic only the committer's drop runs.
    #[tokio::test]
    async fn a_panic_of_the_thread_leaves_no_agent_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let (local, committer) = committer(dir.path(), LINGER);
        let receipt = publish(&local, "b", 1).unwrap();
        drop(committer);
        assert_eq!(receipt.await, Err(ReceiptError::NotStored));
        assert_eq!(publish(&local, "b", 1).unwrap_err(), Refused::Stopping);
    }

    /// With a wait that would never end by itself.
    #[tokio::test]
    async fn a_group_is_written_once_the_senders_of_the_last_one_are_back_or_at_a_stop() {
        let dir = tempfile::tempdir().unwrap();
        let (local, mut committer) = committer(dir.path(), LINGER);
        let long = Duration::from_secs(3600);
        (committer.expected, committer.gather) = (MORE_THAN_A_FEW + 1, long);
        let thread = std::thread::spawn(move || committer.run());
        let first = publish(&local, "b", 2).unwrap();
        let rest = publish(&local, "b", MORE_THAN_A_FEW - 1).unwrap();
        for receipt in [first, rest] {
            tokio::time::timeout(Duration::from_secs(60), receipt).await.unwrap().unwrap();
        }
        let alone = publish(&local, "b", 1).unwrap();
        local.close();
        local.finish();
        thread.join().unwrap();
        alone.await.unwrap();
    }

    /// With a linger that would never end by itself.
    #[tokio::test]
    async fn a_message_to_be_stored_or_a_stop_ends_the_linger() {
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
