//! The part that all engines share: who subscribed to what in this process, whose turn it is, and how a handler is called.

mod table;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use parking_lot::RwLock;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::counts::Counts;
use crate::engine::{Call, Options, Registration};
use crate::message::{FAILED, UNAVAILABLE};
use crate::report::REPORTED_FROM;
use crate::{Data, ErrorReport, Kind, Message};
use table::Table;
pub(crate) use table::{Entry, Removed};

/// The subscriptions of a process, and the tasks that run their handlers.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) options: Options,
    pub(crate) counts: Counts,
    table: RwLock<Table>,
    calls: Semaphore,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Local {
    /// Its tasks end when `stop` fires.
    pub(crate) fn new(options: Options, stop: CancellationToken) -> Self {
        Self {
            options,
            counts: Counts::default(),
            table: RwLock::default(),
            calls: Semaphore::new(options.max_calls.min(Semaphore::MAX_PERMITS)),
            tasks: TaskTracker::new(),
            stop,
        }
    }

    /// Adds a subscription; its number, and whether it is the first of its channel.
    pub(crate) fn add(&self, mut registration: Registration) -> (u64, bool) {
        let ignored = registration.kind == Kind::Slot && !self.options.slot_groups;
        if ignored && !registration.strict {
            registration.group = None;
        }
        self.table.write().add(registration)
    }

    /// Takes a subscription out.
    pub(crate) fn remove(&self, id: u64) -> Option<Removed> {
        self.table.write().remove(id)
    }

    /// Takes all of them out.
    pub(crate) fn clear(&self) {
        self.table.write().clear();
    }

    /// The handlers that get a message of this subscription: one of each group, and all without a group.
    pub(crate) fn chosen(&self, channel: &str, pattern: bool) -> Vec<Arc<Entry>> {
        self.table.read().chosen(channel, pattern)
    }

    /// The handlers that get a signal on this channel, over whatever subscription: one of each group, but none of the group that has it already.
    pub(crate) fn chosen_by_any(&self, channel: &str, taken_by: &[Arc<str>]) -> Vec<Arc<Entry>> {
        self.table.read().chosen_by_any(channel, taken_by)
    }

    /// The channels and patterns there are subscriptions to.
    pub(crate) fn channels(&self) -> (Vec<Arc<str>>, Vec<Arc<str>>) {
        self.table.read().channels()
    }

    /// Whether there is a subscription to this channel or pattern.
    #[cfg(feature = "redis")]
    pub(crate) fn has(&self, channel: &str, pattern: bool) -> bool {
        self.table.read().has(channel, pattern)
    }

    /// Whether so much waits to be handled that what comes now has to be dropped.
    #[cfg(any(feature = "nats", feature = "redis"))]
    pub(crate) fn is_flooded(&self) -> bool {
        self.tasks.len() >= self.options.max_calls.saturating_mul(4)
    }

    /// Calls a handler within its time. Dropped before it is told, when that is over.
    pub(crate) async fn execute(&self, entry: &Entry, call: Call) -> Message {
        let Ok(_permit) = self.calls.try_acquire() else {
            self.counts.refused_calls.add();
            return Message::failure(UNAVAILABLE, "too many calls are under way; try again later");
        };
        self.counts.calls.add();
        let (timeout, handler) = (entry.registration.timeout, &entry.registration.handler);
        let handling = AssertUnwindSafe(handler.handle(call)).catch_unwind();
        let message = match tokio::time::timeout(timeout, handling).await {
            Ok(Ok(message)) => Message { code: message.shown_code(), ..message },
            Ok(Err(_)) => Message::failure(FAILED, "the handler panicked"),
            Err(_) => Message::timeout(self.options.timeout_code),
        };
        if message.code >= REPORTED_FROM {
            self.counts.failed_calls.add();
        }
        message
    }

    /// Runs this until it ends or the engine does.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                // After the end `work` is not polled again, so it cannot take what ends with the runtime for a lost connection.
                biased;
                () = stop.cancelled() => {}
                () = work => {}
            }
        });
    }

    /// The same for what has no end of its own: [`finish`](Self::finish) does not wait for it.
    #[cfg(any(feature = "nats", feature = "redis"))]
    pub(crate) fn spawn_endless(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                // After the end `work` is not polled again, so it cannot take what ends with the runtime for a lost connection.
                biased;
                () = stop.cancelled() => {}
                () = work => {}
            }
        });
    }

    /// Whether the engine has ended. Its connections end with it, or with the runtime, which is not worth a warning.
    #[cfg(any(feature = "nats", feature = "redis"))]
    pub(crate) fn has_ended(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Waits for what runs, at most this long; what runs then is dropped.
    pub(crate) async fn finish(&self, patience: Duration) {
        self.tasks.close();
        if tokio::time::timeout(patience, self.tasks.wait()).await.is_err() {
            tracing::warn!(calls = self.tasks.len(), "handlers did not end in time; dropping them");
        }
        self.stop.cancel();
    }
}

/// A call of this subscription.
pub(crate) fn call(entry: &Entry, channel: &Arc<str>, sender: &Arc<str>, data: &Data) -> Call {
    let Registration { kind, timeout, .. } = entry.registration;
    let topic = kind.topic_of(channel).into();
    Call {
        kind,
        topic,
        channel: channel.clone(),
        sender: sender.clone(),
        data: data.clone(),
        timeout,
    }
}

/// The report of a call that failed; none of one that did not.
pub(crate) fn report_of(
    channel: &str,
    sender: &str,
    request: &Data,
    reply: &Message,
) -> Option<ErrorReport> {
    (reply.code >= REPORTED_FROM).then(|| ErrorReport {
        code: reply.code,
        sender: sender.to_owned(),
        topic: channel.to_owned(),
        request_data: request.clone(),
        user_data: reply.data.json().to_owned(),
        backtrace: reply.data.read::<String>().unwrap_or_default(),
        timestamp: ErrorReport::now(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test]
    async fn nothing_goes_on_after_the_end() {
        static WENT_ON: AtomicBool = AtomicBool::new(false);
        let stop = CancellationToken::new();
        let local = Local::new(Options::default(), stop.clone());
        let (sender, _) = tokio::sync::watch::channel(());
        // Many, since a choice that is left to chance is right half the time.
        for _ in 0..64 {
            let mut lost = sender.subscribe();
            local.spawn(async move {
                if lost.changed().await.is_err() {
                    WENT_ON.store(true, Ordering::Relaxed);
                }
            });
        }
        tokio::task::yield_now().await;
        stop.cancel();
        drop(sender);
        local.tasks.close();
        local.tasks.wait().await;
        assert!(!WENT_ON.load(Ordering::Relaxed), "what was cancelled saw its connection end");
    }
}
