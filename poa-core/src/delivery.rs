//! Brings what a reader reads to its receiver: at least once, in order, whatever the receiver does.

mod attempt;
mod in_hand;
mod narrow;
mod recall;
mod set_aside;
mod shed;

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::bus::{Batch, Event, Reader, ReaderCounts};
use crate::restart::Restarts;
use crate::status::{Phase, StatusCell};
use crate::telemetry::{Counter, Histogram, Telemetry};
use crate::{
    Activity, BuildContext, ControlMessage, DeadLetters, Message, MessageId, Receiver,
    ReceiverFactory, ReceiverOptions,
};
use attempt::{Failure, attempt};
pub(crate) use attempt::{chain, endpoints, panic_message};
pub(crate) use in_hand::{InHand, Turns};
pub(crate) use recall::Recall;
pub(crate) use shed::Shedding;

/// One receiver and everything needed to keep it going.
pub(crate) struct Delivery {
    pub(crate) reader: Arc<Reader>,
    pub(crate) factory: ReceiverFactory,
    pub(crate) build: BuildContext,
    pub(crate) options: ReceiverOptions,
    pub(crate) status: StatusCell,
    pub(crate) counts: Arc<Counts>,
    pub(crate) restarts: Restarts,
    /// The running instance; none while it is down.
    pub(crate) receiver: Option<Box<dyn Receiver>>,
    pub(crate) stopping: CancellationToken,
    pub(crate) dead_letters: Option<Arc<dyn DeadLetters>>,
    pub(crate) in_hand: InHand,
    pub(crate) recall: Recall,
    /// Messages to deliver again, out of turn.
    pub(crate) replays: mpsc::Receiver<Replay>,
}

/// Messages that shall be delivered again, and who wants to know how it went.
#[derive(Debug)]
pub(crate) struct Replay {
    pub(crate) messages: Vec<Message>,
    /// Told the ids of those that were set aside again.
    pub(crate) done: oneshot::Sender<Vec<MessageId>>,
}

/// What a receiver has done, for `/metrics` and `/status`.
#[derive(Debug)]
pub(crate) struct Counts {
    pub(crate) delivered: Counter,
    pub(crate) retried: Counter,
    pub(crate) dead_lettered: Counter,
    pub(crate) skipped: Counter,
    damaged: Counter,
    undeclared: Counter,
    restarts: Counter,
    seconds: Histogram,
}

impl Counts {
    /// What the reader of the bus counts of it.
    pub(crate) fn of_reader(&self) -> ReaderCounts {
        ReaderCounts {
            skipped: self.skipped.clone(),
            damaged: self.damaged.clone(),
            undeclared: self.undeclared.clone(),
        }
    }

    pub(crate) fn new(telemetry: &Telemetry, name: &str) -> Arc<Self> {
        let labels = [("receiver", name)];
        let counter = |name, help| telemetry.counter(name, help, &labels);
        Arc::new(Self {
            delivered: counter("receiver_delivered_messages", "Messages delivered"),
            retried: counter("receiver_retried_attempts", "Attempts that failed and were repeated"),
            dead_lettered: counter(
                "receiver_dead_lettered_messages",
                "Messages set aside: they can never be delivered, or the backlog was full",
            ),
            skipped: counter(
                "receiver_skipped_messages",
                "Messages skipped because the backlog was full",
            ),
            damaged: counter(
                "receiver_damaged_log_bytes",
                "Bytes of the log that could not be read, and are lost to this receiver",
            ),
            undeclared: counter(
                "receiver_undeclared_messages",
                "Messages in the log of types that are no longer declared, passed over by this receiver",
            ),
            restarts: counter("receiver_restarts", "Times the receiver was started anew"),
            seconds: telemetry.histogram(
                "receiver_attempt_seconds",
                "How long the receiver took for a batch",
                &labels,
            ),
        })
    }
}

/// What a receiver is given to do.
enum Work {
    Batch(Batch),
    Replay(Replay),
}

/// Events of the same kind, which go to the receiver in one call.
enum Run {
    Messages(Vec<(u64, Message)>),
    Active(Vec<Activity>),
    Inactive(Vec<Activity>),
}

impl Delivery {
    /// Delivers until the bus is closed and everything was delivered, then terminates the receiver.
    pub(crate) async fn run(mut self) {
        if self.receiver.is_none() {
            self.ensure_running().await;
        }
        let mut told = false;
        while let Some(work) = self.next(&mut told).await {
            match work {
                Work::Batch(batch) => {
                    let failed = self.deliver(batch).await;
                    self.reader.confirm(failed);
                }
                Work::Replay(replay) => self.replay(replay).await,
            }
        }
        self.status.enter(Phase::Stopping);
        if let Some(mut receiver) = self.receiver.take() {
            let ended = async {
                receiver.terminate().await;
                Ok(())
            };
            if let Err(failure) = attempt(self.options.timeout.get(), ended).await {
                self.note(&failure);
            }
        }
        self.status.enter(Phase::Stopped);
    }

    /// What comes next; tells the receiver once that the host is stopping, which it may have been too busy to hear at once. It may also
    /// have nothing left to do before it hears of the stop, as the bus is closed at that moment: it is told all the same.
    async fn next(&mut self, told: &mut bool) -> Option<Work> {
        if !*told {
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => {}
                Some(replay) = self.replays.recv() => return Some(Work::Replay(replay)),
                batch = self.reader.next_batch(&self.options.batch) => if let Some(batch) = batch {
                    return Some(Work::Batch(batch));
                },
            }
            *told = true;
            self.tell(ControlMessage::Stopping).await;
        }
        self.reader.next_batch(&self.options.batch).await.map(Work::Batch)
    }

    /// Delivers dead letters again.
    async fn replay(&mut self, replay: Replay) {
        let numbered = (0..).zip(replay.messages.iter().cloned()).collect();
        let failed = self.deliver_messages(numbered).await;
        let failed = failed.into_iter().map(|n| replay.messages[n as usize].id()).collect();
        // Whoever asked may have gone; the letters that failed are kept all the same.
        let _ = replay.done.send(failed);
    }

    async fn tell(&mut self, message: ControlMessage) {
        let Some(receiver) = &mut self.receiver else { return };
        let timeout = self.options.timeout.get();
        if let Err(failure) =
            attempt(timeout, async { receiver.handle_message(message).await }).await
        {
            self.note(&failure);
            self.drop_if_broken(&failure);
        }
    }

    /// Delivers everything in the batch that can be; returns the positions of what cannot.
    async fn deliver(&mut self, batch: Batch) -> Vec<u64> {
        let mut failed = Vec::new();
        for run in runs(batch) {
            match run {
                Run::Messages(messages) => failed.extend(self.deliver_messages(messages).await),
                Run::Active(changes) => self.deliver_changes(&changes, true).await,
                Run::Inactive(changes) => self.deliver_changes(&changes, false).await,
            }
        }
        failed
    }

    async fn deliver_changes(&mut self, changes: &[Activity], active: bool) {
        let mut attempts = 0;
        loop {
            let timeout = self.options.timeout.get();
            let receiver = self.ensure_running().await;
            let result = if active {
                attempt(timeout, async { receiver.handle_active(changes).await }).await
            } else {
                attempt(timeout, async { receiver.handle_inactive(changes).await }).await
            };
            let Err(failure) = result else { return self.succeeded(attempts) };
            let last_try = matches!(failure, Failure::Panicked(_)) && attempts >= narrow::PANICS;
            self.note(&failure);
            self.drop_if_broken(&failure);
            if last_try || matches!(failure, Failure::Permanent { .. }) {
                self.give_up_changes(changes, &failure);
                return;
            }
            self.wait_before_retry(attempts).await;
            attempts += 1;
        }
    }

    fn give_up_changes(&self, changes: &[Activity], failure: &Failure) {
        self.counts.dead_lettered.inc_by(changes.len() as u64);
        for change in changes {
            let (agent, active) = (&change.agent_id, change.active);
            tracing::error!(receiver = self.build.name(), %agent, active, "set aside: {failure}");
        }
    }

    /// One call of `metrics_received`, with everything that can go wrong with it.
    async fn try_messages(&mut self, messages: &[Message]) -> Result<(), Failure> {
        let timeout = self.options.timeout.get();
        self.ensure_running().await;
        let begin = Instant::now();
        let call = self.in_hand.begin(messages).await;
        let receiver = self.ensure_running().await;
        let result = attempt(timeout, async { receiver.metrics_received(messages).await }).await;
        drop(call);
        self.counts.seconds.observe(begin.elapsed().as_secs_f64());
        if let Err(failure) = &result {
            self.note(failure);
            self.drop_if_broken(failure);
        }
        result
    }

    fn succeeded(&mut self, attempts: u32) {
        self.restarts.succeeded();
        if attempts > 0 {
            self.status.enter(Phase::Running);
        }
    }

    async fn wait_before_retry(&mut self, attempts: u32) {
        self.counts.retried.inc();
        if self.receiver.is_some() {
            self.status.enter(Phase::Retrying);
            tokio::time::sleep(self.options.retry.wait(attempts)).await;
        }
    }

    fn note(&self, failure: &Failure) {
        self.status.failed(&failure.to_string());
        tracing::warn!(receiver = self.build.name(), "{failure}");
    }

    /// After a panic or a call that was cut off, the instance may be in any state: the next one starts anew.
    fn drop_if_broken(&mut self, failure: &Failure) {
        if failure.breaks() {
            let broken = self.receiver.take();
            self.discard(broken);
        }
    }

    /// A destructor that panics must not take the supervisor with it.
    fn discard(&self, broken: Option<Box<dyn Receiver>>) {
        let dropped = std::panic::AssertUnwindSafe(move || drop(broken));
        if std::panic::catch_unwind(dropped).is_err() {
            tracing::warn!(receiver = self.build.name(), "panicked while it was dropped");
        }
    }

    /// The running instance, built anew if need be: again and again, for as long as it takes.
    async fn ensure_running(&mut self) -> &mut dyn Receiver {
        while self.receiver.is_none() {
            self.status.enter(Phase::Restarting);
            tokio::time::sleep(self.restarts.next_wait(Instant::now())).await;
            self.status.restarted();
            self.counts.restarts.inc();
            let build = async { (self.factory)(&self.build).await };
            let timeout = self.options.timeout.get();
            match attempt::build(timeout, build).await {
                Ok(receiver) => self.receiver = self.recall_active(receiver).await,
                Err(failure) => self.note(&failure),
            }
        }
        self.receiver.as_deref_mut().expect("the loop ends with a receiver")
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.reader.abandon();
    }
}

/// Groups events so that order is kept and calls are few.
fn runs(batch: Batch) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (position, event) in batch {
        match (event, runs.last_mut()) {
            (Event::Message(message), Some(Run::Messages(run))) => run.push((position, message)),
            (Event::Message(message), _) => runs.push(Run::Messages(vec![(position, message)])),
            (Event::Activity(change), Some(Run::Active(run))) if change.active => run.push(change),
            (Event::Activity(change), Some(Run::Inactive(run))) if !change.active => {
                run.push(change);
            }
            (Event::Activity(change), _) if change.active => runs.push(Run::Active(vec![change])),
            (Event::Activity(change), _) => runs.push(Run::Inactive(vec![change])),
        }
    }
    runs
}
