//! The interface between the bus and the engine that keeps its messages.
//!
//! An [`Engine`] accepts messages, keeps them until every subscription has confirmed them, and hands them out in batches. Everything
//! above it (retries, poison messages, dead letters, supervision, activity) is written once and does not depend on the engine.
//! Engines are plugins, registered like handlers and receivers; `poa_testkit::EngineContract` tests the promises of an engine.
//!
//! The assumptions an engine may make, and those it must not:
//!
//! - Positions are numbers that grow along one subscription. They need not be dense, and the host does not interpret them.
//! - Message ids are unique and sort by time; within a batch they need not be sorted, because several nodes may interleave.
//! - A host may have handlers only, receivers only, or both; a subscription may be served on another machine than the one that
//!   publishes.

mod codec;
mod drafts;
mod event;
mod receipt;
mod refused;
mod settings;
mod store;
mod subscription;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

pub use crate::data_type::TypeSet;
pub use crate::id::IdGenerator;
pub use crate::idempotency::Fingerprint;
pub use codec::{Decoded, Trace, Unstamped, decode, encode, encode_draft, trace};
pub use drafts::Drafts;
pub use event::{Batch, Event};
pub use receipt::{MessageIds, Receipt, ReceiptError, ReceiptSender};
pub use refused::{Party, Refused, SendError};
pub use settings::{Acks, BusCounts, BusSettings, KeyWindow, Unrouted};
pub use store::{Change, Entry, Revision, SharedStore, StoreError};
pub use subscription::{Level, Subscription, SubscriptionCounts, SubscriptionRequest};

use crate::{Ack, Activity, BuildError};

/// The lower half of the bus: accepts messages, keeps them, and hands them out to subscriptions.
///
/// Built like every plugin (see [`Plugin`](crate::Plugin)) and shared by all handlers and receivers of a host. An engine is built,
/// subscribed to, started, closed and finished, in this order.
///
/// A host makes these calls; a test of an engine makes them by hand:
///
/// ```
/// use poa_core::engine::{Engine, Leftover, Level, SubscriptionRequest};
/// # use poa_core::engine::Event;
/// use poa_core::{BatchLimits, BuildContext, Plugin as _, ReceiverOptions};
/// # use poa_core::{AgentId, DataTypes, Draft, Payload};
/// use poa_engine_local::Memory;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let types = DataTypes::new(["readings"])?;
/// # let readings = types.get("readings").expect("declared above").clone();
/// # let cx = BuildContext::detached("memory", std::env::temp_dir()).with_data_types(types.clone());
/// # let draft = Draft::new(AgentId::new("pump-7")?, readings, Payload::json(&serde_json::json!({}))?);
/// let engine = Memory::build(Default::default(), &cx).await?;
/// let options = ReceiverOptions::subscribe(["readings"]);
/// let request = SubscriptionRequest::new("store", types.iter().collect(), &options);
/// let store = engine.subscribe(request).await?;
/// engine.start().await?;
///
/// engine.publish(draft.into())?.await?;
/// let batch = store.next_batch(&BatchLimits::default()).await.expect("the engine is open");
/// assert_eq!(batch.len(), 1);
/// assert_eq!(store.level().events, 1); // in flight
/// store.confirm(&[]);
/// assert_eq!(store.level(), Level::default());
///
/// engine.close();
/// assert!(store.next_batch(&BatchLimits::default()).await.is_none());
/// drop(store);
/// assert_eq!(engine.finish().await, Leftover::default());
/// # Ok(())
/// # }
/// ```
#[async_trait]
#[diagnostic::on_unimplemented(note = "an engine implements `poa_core::engine::Engine`")]
pub trait Engine: Send + Sync + 'static {
    /// The capabilities of this engine. Constant.
    fn capabilities(&self) -> Capabilities;

    /// Adds a subscription, or changes the one of this name: its cursor stays, events in flight are given back, and the earlier
    /// [`Subscription`] ends as if the engine were closed.
    ///
    /// A new subscription starts at [`SubscriptionRequest::from`]. Once this returns on a started engine, a crash cannot move that
    /// position past a message that is acknowledged later; before [`start`](Self::start), `start` ensures the same.
    ///
    /// # Errors
    /// When the starting position of the subscription cannot be read or made durable.
    async fn subscribe(
        &self,
        request: SubscriptionRequest,
    ) -> Result<Arc<dyn Subscription>, BuildError>;

    /// Removes a subscription and its cursor, and discards its backlog. Unknown names are ignored. Receipts no longer wait for it.
    ///
    /// # Errors
    /// When the removal cannot be made durable.
    async fn unsubscribe(&self, name: &str) -> Result<(), BuildError>;

    /// Starts the background work. Called once, after the first subscriptions and before the first message.
    ///
    /// # Errors
    /// When the engine cannot keep its promises: a disk that cannot be written, servers that do not sync.
    async fn start(&self) -> Result<(), BuildError>;

    /// Accepts all of these messages, or none of them. Returns immediately; the receipt resolves when they reach the level of
    /// [`BusSettings::acks`]. An engine that spans machines may learn only from its servers that one of the messages is refused or
    /// cannot be stored: the receipt then fails, although others of the same call may be stored. Sent again with their idempotency
    /// keys, those are accepted once.
    ///
    /// A message whose idempotency key was seen within the deduplication window is a duplicate: it is counted and not accepted again,
    /// and its receipt resolves together with that of the first.
    ///
    /// # Errors
    /// See [`Refused`]. The messages are returned in the error and delivered to no receiver.
    fn publish(&self, messages: Drafts) -> Result<Receipt, SendError>;

    /// Tells every subscription that an agent changed its state. Never refused: if the backlog is full, the last change of each agent
    /// is kept and delivered later.
    fn publish_activity(&self, change: Activity);

    /// Returns when a message that was refused with a transient error may be accepted, or after a while. Cancel safe.
    async fn room(&self) {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }

    /// Whether the engine accepts messages: from [`start`](Self::start) to [`close`](Self::close), unless it broke.
    fn is_open(&self) -> bool;

    /// Stops accepting messages. Subscriptions hand out the rest, then end. An engine whose messages survive the process may end them
    /// sooner, and hands out the rest after the next start.
    fn close(&self);

    /// Finishes after all subscriptions have ended: writes the rest, releases files and connections.
    ///
    /// The caller limits the time. Cancel safe: messages that are not written by then are lost as in a crash.
    async fn finish(&self) -> Leftover;

    /// The state of the engine for `/status`: an object, empty if it has nothing to report.
    fn status(&self) -> serde_json::Value {
        serde_json::json!({})
    }

    /// Refreshes gauges before a scrape.
    fn refresh_metrics(&self) {}

    /// A small store shared by all nodes of the engine, if it spans machines.
    fn shared_store(&self) -> Option<Arc<dyn SharedStore>> {
        None
    }
}

/// The capabilities of an engine.
///
/// ```
/// use poa_core::Ack;
/// use poa_core::engine::Capabilities;
///
/// // An engine says what it can promise; a host that needs more does not start on it.
/// assert!(!Capabilities::VOLATILE.can_promise(Ack::Stored));
/// assert!(Capabilities::DURABLE.can_promise(Ack::Stored));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// The strongest [`Ack`] that the engine supports, apart from `Delivered`, which every engine supports.
    pub strongest_ack: Ack,
    /// Whether messages survive the process: those in flight at a crash are delivered again.
    pub durable: bool,
    /// Whether the engine spans several machines.
    pub shared: bool,
}

impl Capabilities {
    /// An engine that loses its messages with the process.
    pub const VOLATILE: Self = Self { strongest_ack: Ack::Memory, durable: false, shared: false };
    /// An engine that keeps its messages on this machine, synced before the receipt.
    pub const DURABLE: Self = Self { strongest_ack: Ack::Stored, durable: true, shared: false };
    /// An engine that keeps its messages on several machines.
    pub const SHARED: Self = Self { strongest_ack: Ack::Stored, durable: true, shared: true };

    /// Whether the engine supports this level.
    #[must_use]
    pub fn can_promise(&self, ack: Ack) -> bool {
        ack == Ack::Delivered || ack <= self.strongest_ack
    }
}

/// The messages that an engine could not save.
///
/// See [`Engine`] for an example.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftover {
    /// Lost messages that were acknowledged with `memory` only.
    pub lost: u64,
}

impl fmt::Debug for dyn Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Engine({:?})", self.capabilities())
    }
}
