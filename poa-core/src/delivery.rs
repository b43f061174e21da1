//! Delivers the events of a subscription to its receiver: at least once, in order, whatever the receiver does.

mod attempt;
mod in_hand;
mod narrow;
mod observe;
mod recall;
mod rest;
mod runs;
mod set_aside;
mod shed;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::engine::{Batch, Subscription, SubscriptionCounts};
use crate::error::{chain, guarded, or_default};
use crate::host::HAND_OVER;
use crate::restart::Restarts;
use crate::status::{Phase, StatusCell};
use crate::telemetry::{Counter, Histogram, Telemetry};
use crate::{
    Activity, BuildContext, ControlMessage, DeadLetters, Message, MessageId, Receiver,
    ReceiverContext, ReceiverFactory, ReceiverOptions,
};
use attempt::{Failure, attempt};
pub(crate) use in_hand::{InHand, Turns};
pub(crate) use recall::Recall;
pub(crate) use rest::Rest;
use runs::{Messages, Run, runs};
pub(crate) use set_aside::Reports;
pub(crate) use shed::Shedding;

/// One receiver and everything needed to keep it running.
pub(crate) struct Delivery {
    pub(crate) subscription: Arc<dyn Subscription>,
    pub(crate) factory: ReceiverFactory,
    pub(crate) build: BuildContext,
    pub(crate) options: ReceiverOptions,
    pub(crate) status: StatusCell,
    pub(crate) counts: Arc<Counts>,
    pub(crate) restarts: Restarts,
    /// The running instance; none while it is down.
    pub(crate) receiver: Option<Box<dyn Receiver>>,
    pub(crate) stopping: CancellationToken,
    /// Fires when another delivery takes over, or the receiver is removed.
    pub(crate) retired: CancellationToken,
    /// The context that the receiver is started with.
    pub(crate) context: ReceiverContext,
    pub(crate) dead_letters: Option<Arc<dyn DeadLetters>>,
    pub(crate) reports: Reports,
    pub(crate) in_hand: InHand,
    pub(crate) recall: Recall,
    /// Messages to deliver again, out of turn.
    pub(crate) replays: mpsc::Receiver<Replay>,
    pub(crate) rest: Rest,
}

/// Messages to deliver again, and the channel for the result.
#[derive(Debug)]
pub(crate) struct Replay {
    pub(crate) messages: Vec<Message>,
    /// Receives the ids of the messages that were dead-lettered again.
    pub(crate) done: oneshot::Sender<Vec<MessageId>>,
}

/// The work of a receiver, for `/metrics` and `/status`.
#[derive(Debug)]
pub(crate) struct Counts {
    pub(crate) delivered: Counter,
    pub(crate) retried: Counter,
    pub(crate) dead_lettered: Counter,
    pub(crate) subscription: SubscriptionCounts,
    restarts: Counter,
    seconds: Histogram,
}

impl Counts {
    pub(crate) fn new(telemetry: &Telemetry, name: &str) -> Arc<Self> {
        let labels = [("receiver", name)];
        let counter = |name, help| telemetry.counter(name, help, &labels);
        Arc::new(Self {
            delivered: counter("receiver_delivered_messages", "Messages delivered"),
            retried: counter("receiver_retried_attempts", "Attempts that failed and were retried"),
            dead_lettered: counter(
                "receiver_dead_lettered_messages",
                "Messages dead-lettered: they cannot be delivered, or the backlog was full",
            ),
            subscription: SubscriptionCounts::new(telemetry, name),
            restarts: counter("receiver_restarts", "Times the receiver was restarted"),
            seconds: telemetry.histogram(
                "receiver_attempt_seconds",
                "Duration of a receiver's call for a batch",
                &labels,
            ),
        })
    }
}

/// The longest wait that is granted when the destination of a receiver asks for one.
const MOST_ASKED: Duration = Duration::from_secs(300);

/// The next task of a receiver.
enum Work {
    Batch(Batch),
    Replay(Replay),
}

impl Delivery {
    /// Delivers until the engine is closed and everything was delivered, then terminates the receiver. Ends sooner when it is retired, or
    /// when it waits to try again while a stop is nearly out of time: events in flight are then given back.
    pub(crate) async fn run(mut self) {
        let (retired, rest) = (self.retired.clone(), self.rest.clone());
        let out_of_time = async {
            retired.cancelled().await;
            tokio::time::sleep(HAND_OVER).await;
        };
        tokio::select! {
            biased;
            () = self.deliver_all() => {}
            () = rest.reached() => self.subscription.give_back(),
            () = out_of_time => {
                self.subscription.give_back();
                // A call was dropped before it completed, so the state of the instance is unknown.
                let broken = self.receiver.take();
                self.discard(broken);
            }
        }
        self.status.enter(Phase::Stopping);
        // Before the last call, which may wait for the tasks that this ends.
        self.context.shutdown.cancel();
        self.terminate().await;
        self.status.enter(Phase::Stopped);
    }

    async fn deliver_all(&mut self) {
        self.start_built().await;
        self.ensure_running().await;
        let mut told = false;
        while let Some(work) = self.next(&mut told).await {
            match work {
                Work::Batch(batch) => {
                    let failed = self.deliver(batch).await;
                    self.subscription.confirm(&failed);
                }
                Work::Replay(replay) => self.replay(replay).await,
            }
        }
    }

    async fn terminate(&mut self) {
        self.reports.sum_up(self.build.name());
        if let Some(mut receiver) = self.receiver.take() {
            let ended = async {
                receiver.terminate().await;
                Ok(())
            };
            if let Err(failure) = attempt(self.options.timeout.get(), ended).await {
                self.note(&failure);
            }
        }
    }

    /// Returns the next task; notifies the receiver once that the host is stopping, which it may have been too busy to hear
    /// immediately. The bus is closed at the same moment, so the subscription may end before the notification: it is sent in that case
    /// as well.
    async fn next(&mut self, told: &mut bool) -> Option<Work> {
        while !*told {
            tokio::select! {
                biased;
                () = self.retired.cancelled() => return None,
                () = self.stopping.cancelled() => {}
                () = self.reports.due() => {
                    self.reports.sum_up(self.build.name());
                    continue;
                }
                Some(replay) = self.replays.recv() => return Some(Work::Replay(replay)),
                batch = self.subscription.next_batch(&self.options.batch) => if let Some(batch) = batch {
                    return Some(Work::Batch(batch));
                },
            }
            *told = true;
            self.tell(ControlMessage::Stopping).await;
        }
        tokio::select! {
            biased;
            () = self.retired.cancelled() => None,
            batch = self.subscription.next_batch(&self.options.batch) => batch.map(Work::Batch),
        }
    }

    /// Delivers dead letters again.
    async fn replay(&mut self, replay: Replay) {
        let numbered = Messages {
            positions: (0..replay.messages.len() as u64).collect(),
            list: replay.messages.clone(),
        };
        let failed = self.deliver_messages(numbered).await;
        let failed = failed.into_iter().map(|n| replay.messages[n as usize].id()).collect();
        // The caller may be gone; the letters that failed are kept all the same.
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

    /// Delivers every message of the batch that can be delivered; returns the positions of the others.
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
            let Err(failure) = result else { return self.succeeded() };
            let last_try = matches!(failure, Failure::Panicked(_)) && attempts >= narrow::PANICS;
            self.note(&failure);
            self.drop_if_broken(&failure);
            if last_try || failure.is_permanent() {
                self.give_up_changes(changes, &failure);
                return;
            }
            self.wait_before_retry(&failure, attempts).await;
            attempts += 1;
        }
    }

    fn give_up_changes(&self, changes: &[Activity], failure: &Failure) {
        self.counts.dead_lettered.inc_by(changes.len() as u64);
        if let Some(Activity { agent_id: agent, active, .. }) = changes.first() {
            let (receiver, changes) = (self.build.name(), changes.len());
            tracing::error!(receiver, changes, first = %agent, active, "changes of activity dropped, they cannot be delivered: {failure}");
        }
    }

    /// One call of `metrics_received`, with every way in which it can fail. It is the attempt of this number with these messages.
    async fn try_messages(&mut self, messages: &[Message], number: u32) -> Result<(), Failure> {
        let timeout = self.options.timeout.get();
        self.ensure_running().await;
        let (begin, began_at) = (Instant::now(), self.observers().now());
        let call = self.in_hand.begin(messages).await;
        let receiver = self.ensure_running().await;
        let result = attempt(timeout, async { receiver.metrics_received(messages).await }).await;
        drop(call);
        self.counts.seconds.observe(begin.elapsed().as_secs_f64());
        if let Some(began_at) = began_at {
            self.observe_attempt(messages, number, began_at, &result);
        }
        if let Err(failure) = &result {
            self.note(failure);
            self.drop_if_broken(failure);
        }
        result
    }

    fn succeeded(&mut self) {
        self.restarts.succeeded();
        self.status.enter(Phase::Running);
    }

    async fn wait_before_retry(&mut self, failure: &Failure, attempts: u32) {
        self.counts.retried.inc();
        if self.receiver.is_none() {
            return;
        }
        let retry = &self.options.retry;
        let (phase, wait) = match failure {
            Failure::Misconfigured(_) => (Phase::Misconfigured, retry.max.get()),
            Failure::Transient { retry_after: Some(asked), .. } => {
                (Phase::Retrying, (*asked).min(MOST_ASKED).max(retry.wait(attempts)))
            }
            _ => (Phase::Retrying, retry.wait(attempts)),
        };
        self.status.enter(phase);
        self.rest.or(tokio::time::sleep(wait)).await;
    }

    fn note(&self, failure: &Failure) {
        self.status.failed(&failure.to_string());
        tracing::warn!(receiver = self.build.name(), "{failure}");
    }

    /// After a panic or a call that was cut off the state of the instance is unknown: the next call builds a new one.
    fn drop_if_broken(&mut self, failure: &Failure) {
        if failure.breaks() {
            let broken = self.receiver.take();
            self.discard(broken);
        }
    }

    /// A destructor that panics must not end the supervisor.
    fn discard(&self, broken: Option<Box<dyn Receiver>>) {
        let dropped = std::panic::AssertUnwindSafe(move || drop(broken));
        if std::panic::catch_unwind(dropped).is_err() {
            tracing::warn!(
                receiver = self.build.name(),
                "the receiver panicked while it was dropped"
            );
        }
    }

    /// The running instance, rebuilt if necessary; retries without limit.
    async fn ensure_running(&mut self) -> &mut dyn Receiver {
        while self.receiver.is_none() {
            self.status.enter(Phase::Restarting);
            let (rest, wait) = (self.rest.clone(), self.restarts.next_wait(Instant::now()));
            rest.or(tokio::time::sleep(wait)).await;
            self.status.restarted();
            self.counts.restarts.inc();
            if let Some(receiver) = rest.or(self.build_again()).await {
                self.receiver = self.recall_active(receiver).await;
            }
        }
        self.receiver.as_deref_mut().expect("the loop ends with a receiver")
    }

    async fn build_again(&mut self) -> Option<Box<dyn Receiver>> {
        let build = async { (self.factory)(&self.build).await };
        let failure = match guarded(self.options.timeout.get(), build).await {
            Ok(Ok(receiver)) => return self.start(receiver).await,
            Ok(Err(error)) => Failure::Transient { reason: chain(&error), retry_after: None },
            Err(interrupted) => interrupted.into(),
        };
        self.note(&failure);
        None
    }

    /// Starts the instance that was built with the host.
    async fn start_built(&mut self) {
        if let Some(receiver) = self.receiver.take() {
            self.receiver = self.start(receiver).await;
            if let Some(receiver) = &self.receiver {
                self.status.running(or_default(|| receiver.endpoints()));
            }
        }
    }

    /// Starts an instance, and returns it unless that failed.
    async fn start(&mut self, mut receiver: Box<dyn Receiver>) -> Option<Box<dyn Receiver>> {
        let (timeout, context) = (self.options.timeout.get(), self.context.clone());
        match attempt(timeout, async { receiver.start(context).await }).await {
            Ok(()) => Some(receiver),
            Err(failure) => {
                self.note(&failure);
                self.discard(Some(receiver));
                None
            }
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        // Another delivery that took over is responsible for the rest.
        if !self.retired.is_cancelled() {
            self.subscription.abandon();
        }
    }
}
