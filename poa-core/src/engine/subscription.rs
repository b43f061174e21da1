//! What one receiver reads.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Batch, TypeSet};
use crate::telemetry::{Counter, Telemetry};
use crate::{Backlog, BatchLimits, Message, ReadFrom, ReceiverOptions, Scope, Timestamp};

/// A receiver's place in the engine: hands out events in order, and remembers what was confirmed.
///
/// One task calls [`next_batch`](Self::next_batch), [`confirm`](Self::confirm) and [`give_back`](Self::give_back); another may call
/// [`next_shed`](Self::next_shed) and [`shed_kept`](Self::shed_kept) meanwhile.
#[async_trait]
pub trait Subscription: Send + Sync + 'static {
    /// The next events, as soon as there is a full batch or the first of them has waited for [`BatchLimits::linger`]; `None` once the
    /// engine is closed and everything was handed out.
    ///
    /// Events that are handed out are *in hand* until they are confirmed or given back. Cancel safe: a call that is dropped has
    /// handed out nothing.
    async fn next_batch(&self, limits: &BatchLimits) -> Option<Batch>;

    /// Everything in hand is done with; `failed` lists the positions of what was set aside instead of delivered.
    fn confirm(&self, failed: &[u64]);

    /// What is in hand is handed out again, first of all.
    fn give_back(&self);

    /// Nothing more will be confirmed: receipts that wait for this subscription say that the host has stopped.
    fn abandon(&self);

    /// How much waits, what is in hand or on its way to the dead letters included.
    fn level(&self) -> Level;

    /// Sheds what exceeds the backlog's bounds, as soon as there is any. Returns what is to become dead letters; the same messages are
    /// returned again until [`shed_kept`](Self::shed_kept) says that they are safe. Messages that are skipped are counted in
    /// [`SubscriptionCounts::skipped`] and not returned.
    ///
    /// Never returns while nothing is to be shed. An engine that spans machines may shed a message for another reason, such as one over
    /// which nodes ended again and again. Cancel safe.
    async fn next_shed(&self) -> Vec<Message>;

    /// What was shed and is not safe yet.
    fn shed(&self) -> Vec<Message>;

    /// The first so many of [`shed`](Self::shed) are safe.
    fn shed_kept(&self, count: usize);

    /// The state of the subscription for `/status`, where an engine has more to tell than its level: an object, or null.
    fn status(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
}

/// How much waits for a subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// Messages and changes of activity. After a restart an estimate until the subscription has caught up.
    pub events: u64,
    /// Their size in memory.
    pub bytes: u64,
    /// When the oldest of them was received.
    pub oldest: Option<Timestamp>,
}

/// What a receiver asks of the engine.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SubscriptionRequest {
    /// The name of the receiver, which is also that of its cursor.
    pub name: Arc<str>,
    /// The data types it gets. Changes of activity go to every subscription.
    pub types: TypeSet,
    /// Where it starts when the engine does not know it yet.
    pub from: ReadFrom,
    /// Whether it shares its cursor with the receivers of its name on other nodes.
    pub scope: Scope,
    /// Whether `ack = "delivered"` waits for it.
    pub critical: bool,
    /// How far it may fall behind.
    pub backlog: Backlog,
    /// What the engine counts for it.
    pub counts: SubscriptionCounts,
}

impl SubscriptionRequest {
    /// What these options ask.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, types: TypeSet, options: &ReceiverOptions) -> Self {
        Self {
            name: name.into(),
            types,
            from: options.from,
            scope: options.scope,
            critical: options.critical,
            backlog: options.backlog,
            counts: SubscriptionCounts::default(),
        }
    }

    /// The same, counted here.
    #[must_use]
    pub fn with_counts(mut self, counts: SubscriptionCounts) -> Self {
        self.counts = counts;
        self
    }
}

/// What an engine counts for a subscription.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SubscriptionCounts {
    /// Messages that were skipped because the backlog was full, and kept nowhere.
    pub skipped: Counter,
    /// Bytes that could not be read and are lost to this subscription.
    pub damaged: Counter,
    /// Stored messages of types that are no longer declared.
    pub undeclared: Counter,
}

impl SubscriptionCounts {
    /// Counters registered here, with the receiver's name as label.
    #[must_use]
    pub fn new(telemetry: &Telemetry, receiver: &str) -> Self {
        let labels = [("receiver", receiver)];
        let counter = |name, help| telemetry.counter(name, help, &labels);
        Self {
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
                "Messages in the log of types that are no longer declared, skipped by this receiver",
            ),
        }
    }
}
