//! The events that one receiver reads.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Batch, TypeSet};
use crate::telemetry::{Counter, Telemetry};
use crate::{Backlog, BatchLimits, Message, ReadFrom, ReceiverOptions, Scope, Timestamp};

/// A receiver's cursor in the engine: hands out events in order, and remembers which were confirmed.
///
/// One task calls [`next_batch`](Self::next_batch), [`confirm`](Self::confirm) and [`give_back`](Self::give_back); another may call
/// [`next_shed`](Self::next_shed) and [`shed_kept`](Self::shed_kept) meanwhile.
///
/// See [`Engine`](super::Engine) for an example.
#[async_trait]
pub trait Subscription: Send + Sync + 'static {
    /// The next events, as soon as there is a full batch or the first of them has waited for [`BatchLimits::linger`]; `None` once the
    /// engine is closed and everything was handed out.
    ///
    /// Events that were handed out are *in flight* until they are confirmed or given back. Cancel safe: a call that is dropped has
    /// handed out nothing.
    async fn next_batch(&self, limits: &BatchLimits) -> Option<Batch>;

    /// Confirms everything in flight; `failed` lists the positions of events that were dead-lettered instead of delivered.
    fn confirm(&self, failed: &[u64]);

    /// Events in flight are handed out again, before all others.
    fn give_back(&self);

    /// No more events will be confirmed: receipts that wait for this subscription fail with
    /// [`ReceiptError::Stopped`](super::ReceiptError::Stopped).
    fn abandon(&self);

    /// The size of the backlog, including what is in flight or being dead-lettered.
    fn level(&self) -> Level;

    /// Sheds the part of the backlog that exceeds its limits, as soon as there is any. Returns the events that are to become dead
    /// letters; the same events are returned again until [`shed_kept`](Self::shed_kept) confirms that they are durable. Messages that
    /// are skipped are counted in [`SubscriptionCounts::skipped`] and not returned.
    ///
    /// Does not return while the backlog is within its limits. An engine that spans machines may shed a message for another reason,
    /// such as a message during whose delivery nodes crashed repeatedly. Cancel safe.
    async fn next_shed(&self) -> Vec<Message>;

    /// The events that were shed and are not durable yet.
    fn shed(&self) -> Vec<Message>;

    /// This many events of [`shed`](Self::shed), counted from the first, are durable.
    fn shed_kept(&self, count: usize);

    /// The state of the subscription for `/status`, if an engine reports more than its level: an object, or null.
    fn status(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
}

/// The size of a subscription's backlog.
///
/// See [`Engine`](super::Engine) for an example.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// Messages and changes of activity. After a restart an estimate until the subscription has caught up.
    pub events: u64,
    /// Their size in memory.
    pub bytes: u64,
    /// The time at which the oldest of them was received.
    pub oldest: Option<Timestamp>,
}

/// The requirements of a receiver on the engine.
///
/// See [`Engine`](super::Engine) for an example.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SubscriptionRequest {
    /// The name of the receiver, which is also the name of its cursor.
    pub name: Arc<str>,
    /// The subscribed data types. Changes of activity go to every subscription.
    pub types: TypeSet,
    /// The position at which it starts if the engine does not know it yet.
    pub from: ReadFrom,
    /// Whether it shares its cursor with the receivers of the same name on other nodes.
    pub scope: Scope,
    /// Whether `ack = "delivered"` waits for it.
    pub critical: bool,
    /// The limits of its backlog.
    pub backlog: Backlog,
    /// The counters that the engine maintains for it.
    pub counts: SubscriptionCounts,
}

impl SubscriptionRequest {
    /// The requirements that follow from these options.
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

    /// The same request with these counters.
    #[must_use]
    pub fn with_counts(mut self, counts: SubscriptionCounts) -> Self {
        self.counts = counts;
        self
    }
}

/// The counters that an engine maintains for a subscription.
///
/// ```
/// use poa_core::engine::SubscriptionCounts;
/// use poa_core::telemetry::Telemetry;
///
/// let telemetry = Telemetry::default();
/// // Nothing is dropped silently: an engine counts each message that a subscription does not get.
/// SubscriptionCounts::new(&telemetry, "store").skipped.inc_by(3);
/// assert!(telemetry.encode().contains(r#"poa_receiver_skipped_messages_total{receiver="store"} 3"#));
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SubscriptionCounts {
    /// Messages that were skipped because the backlog was full, and are lost.
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
