//! A receiver on this node: it holds leases on partitions, reads them, and hands out what it read.

mod flush;
mod keeper;
mod read;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use poa_core::engine::{Batch, Level, Subscription, SubscriptionRequest};
use poa_core::{Backlog, BatchLimits, Message, Scope, Timestamp, WhenFull};
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cluster::Cluster;
use crate::held::Held;
use crate::pack::Position;

/// How often it is looked whether the backlog exceeds its bounds.
const LOOK: Duration = Duration::from_millis(250);

/// A receiver on this node.
pub(crate) struct Receiver {
    cluster: Arc<Cluster>,
    request: SubscriptionRequest,
    backlog: Backlog,
    /// The position to start at in a partition that has no cursor.
    from: Position,
    /// The names of its data types.
    types: BTreeSet<String>,
    held: Mutex<Held>,
    signals: Signals,
    /// Set when the engine is closed: hand out what is left up to this message of the stream.
    closed_at: AtomicU64,
    closed: AtomicBool,
    /// Why nothing is read.
    broken: Mutex<Option<String>>,
    /// Ends everything: no lease is renewed after this.
    end: CancellationToken,
    tasks: TaskTracker,
}

/// Signals between the tasks of a receiver.
#[derive(Default)]
struct Signals {
    /// Something was read, written or closed.
    arrived: Notify,
    /// Something was handed out.
    taken: Notify,
    /// A cursor is to be written.
    flush: Notify,
    /// A lease may be free.
    free: Notify,
}

/// The next step of a caller of `next_batch`.
enum Step {
    Batch(Batch),
    Wait(Option<Instant>),
    Ended,
}

impl Receiver {
    pub(crate) fn new(
        cluster: Arc<Cluster>,
        request: SubscriptionRequest,
        from: Position,
        types: BTreeSet<String>,
    ) -> Arc<Self> {
        let backlog = request.backlog.resolved(Some(cluster.settings.max_bytes));
        Arc::new(Self {
            cluster,
            request,
            backlog,
            from,
            types,
            held: Mutex::default(),
            signals: Signals::default(),
            closed_at: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            broken: Mutex::new(None),
            end: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.request.name
    }

    /// Starts the work in the background.
    pub(crate) fn start(self: &Arc<Self>) {
        match self.request.scope {
            Scope::Each => self.tasks.spawn(self.clone().keep_alone()),
            _ => self.tasks.spawn(self.clone().keep()),
        };
    }

    /// A lease may be free now.
    pub(crate) fn wake(&self) {
        self.signals.free.notify_one();
    }

    /// Nothing comes after this message of the stream: hand out what is left, then end.
    pub(crate) fn close(&self, last: u64) {
        self.closed_at.store(last, Relaxed);
        self.closed.store(true, Relaxed);
        self.signals.arrived.notify_waiters();
    }

    /// Ends the receiver on this node in the background, where the engine is dropped.
    pub(crate) fn cancel(&self) {
        self.close(0);
        self.end.cancel();
    }

    /// Ends the receiver on this node: writes cursors and releases leases.
    pub(crate) async fn finish(&self) {
        self.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn step(&self, limits: &BatchLimits, first: &mut Option<Instant>) -> Step {
        let mut held = self.held.lock();
        let now = Instant::now();
        held.prepare(now, limits);
        if held.must_write() {
            self.signals.flush.notify_one();
            return Step::Wait(None);
        }
        let (count, is_full) = held.fitting(limits);
        let closed = self.closed.load(Relaxed);
        if count == 0 {
            let is_done =
                closed && held.is_drained() && held.has_read(self.closed_at.load(Relaxed));
            return if is_done { Step::Ended } else { Step::Wait(None) };
        }
        let due = *first.get_or_insert(now) + limits.linger.get();
        if !is_full && !closed && now < due {
            return Step::Wait(Some(due));
        }
        let batch = held.hand_out(count);
        drop(held);
        self.signals.taken.notify_waiters();
        Step::Batch(batch)
    }

    /// Whether more waits than may.
    fn exceeds(&self, held: &Held) -> bool {
        let (_, bytes, oldest) = held.level();
        let most = self.backlog.max_bytes.map_or(u64::MAX, |size| size.get());
        let age = oldest.map(|oldest| Timestamp::now().since(oldest));
        let is_old = self.backlog.max_age.zip(age).is_some_and(|(most, age)| age > most.get());
        bytes > most || is_old
    }

    fn shed_what_exceeds(&self) -> Vec<Message> {
        let mut held = self.held.lock();
        let keep = match self.backlog.when_full {
            WhenFull::Skip => Some(false),
            WhenFull::DeadLetter => Some(true),
            _ => None,
        };
        if let Some(keep) = keep {
            // One letter box full at a time: what is in it counts as waiting until it is safe.
            let has_room = !keep || held.shed().is_empty();
            if has_room {
                let mut most = SHED_AT_ONCE;
                let skipped = held.shed_while(keep, |held| {
                    most -= 1;
                    most > 0 && self.exceeds(held)
                });
                self.request.counts.skipped.inc_by(skipped);
            }
        }
        held.shed()
    }
}

/// The most messages that become dead letters at once.
const SHED_AT_ONCE: u32 = 1000;

#[async_trait]
impl Subscription for Receiver {
    async fn next_batch(&self, limits: &BatchLimits) -> Option<Batch> {
        let mut first = None;
        loop {
            let arrived = self.signals.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            match self.step(limits, &mut first) {
                Step::Batch(batch) => return Some(batch),
                Step::Ended => return None,
                Step::Wait(None) => arrived.await,
                Step::Wait(Some(due)) => tokio::select! {
                    () = arrived => {}
                    () = sleep_until(due) => {}
                },
            }
        }
    }

    fn confirm(&self, failed: &[u64]) {
        if self.held.lock().confirm(failed) {
            self.signals.flush.notify_one();
        }
        self.signals.arrived.notify_waiters();
    }

    fn give_back(&self) {
        self.held.lock().give_back();
        self.signals.arrived.notify_waiters();
    }

    fn abandon(&self) {
        self.cluster.deliveries.abandon(self.name());
    }

    fn level(&self) -> Level {
        let (events, bytes, oldest) = self.held.lock().level();
        Level { events, bytes, oldest }
    }

    async fn next_shed(&self) -> Vec<Message> {
        loop {
            let shed = self.shed_what_exceeds();
            self.signals.taken.notify_waiters();
            if !shed.is_empty() {
                return shed;
            }
            // A bound on age is reached without anything that could be waited for.
            let _ = timeout(LOOK, self.signals.arrived.notified()).await;
        }
    }

    fn shed(&self) -> Vec<Message> {
        self.held.lock().shed()
    }

    fn shed_kept(&self, count: usize) {
        self.held.lock().shed_kept(count);
        self.signals.flush.notify_one();
    }

    fn status(&self) -> serde_json::Value {
        let held = self.held.lock();
        let partitions: Vec<_> = held.partitions().map(|(number, _)| number).collect();
        json!({ "partitions": partitions, "of": self.cluster.names.partitions().len(), "error": *self.broken.lock() })
    }
}
