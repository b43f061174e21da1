//! The seam between the bus and what it runs on.
//!
//! An [`Engine`] takes messages, keeps them until every subscription has confirmed them, and hands them out in batches. Everything
//! above it (retries, poison messages, dead letters, supervision, activity) is written once and does not know which engine runs.
//! Engines are plugins, registered beside handlers and receivers; `poa_testkit::EngineContract` tests what an engine promises.
//!
//! What an engine may rely on, and what it must not assume:
//!
//! - Positions are numbers that grow along one subscription. They need not be dense, and mean nothing to the host.
//! - Message ids are unique and sort by time; within a batch they need not be sorted, because several front ends may interleave.
//! - A host may have handlers only, receivers only, or both; a subscription may be served on another machine than it is published on.

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
pub use codec::{Decoded, Trace, decode, encode, trace};
pub use drafts::Drafts;
pub use event::{Batch, Event};
pub use receipt::{MessageIds, Receipt, ReceiptError, ReceiptSender};
pub use refused::{Refused, SendError};
pub use settings::{Acks, BusCounts, BusSettings, KeyWindow, Unrouted};
pub use store::{Change, Entry, Revision, SharedStore, StoreError};
pub use subscription::{Level, Subscription, SubscriptionCounts, SubscriptionRequest};

use crate::{Ack, Activity, BuildError};

/// What the bus runs on: takes messages, keeps them, and hands them out to subscriptions.
///
/// Built like every plugin (see [`Plugin`](crate::Plugin)) and shared by all handlers and receivers of a host. An engine is built,
/// subscribed to, started, closed and finished, in this order.
#[async_trait]
#[diagnostic::on_unimplemented(note = "an engine implements `poa_core::engine::Engine`")]
pub trait Engine: Send + Sync + 'static {
    /// What this engine can promise. Constant.
    fn capabilities(&self) -> Capabilities;

    /// Adds a subscription, or changes the one of this name: its cursor stays, what is in hand is given back, and the earlier
    /// [`Subscription`] ends as if the engine were closed.
    ///
    /// A new subscription starts where [`SubscriptionRequest::from`] says. Once this returns on a started engine, a crash cannot move
    /// that place behind a message that is acknowledged later; before [`start`](Self::start), `start` makes it so.
    ///
    /// # Errors
    /// When the place where the subscription starts cannot be read or made durable.
    async fn subscribe(
        &self,
        request: SubscriptionRequest,
    ) -> Result<Arc<dyn Subscription>, BuildError>;

    /// Removes a subscription and forgets its cursor; what waits for it is discarded. Unknown names are ignored.
    ///
    /// # Errors
    /// When that cannot be made durable.
    async fn unsubscribe(&self, name: &str) -> Result<(), BuildError>;

    /// Starts the work in the background. Called once, after the first subscriptions and before the first message.
    ///
    /// # Errors
    /// When the engine cannot keep its promises: a disk that cannot be written, servers that do not sync.
    async fn start(&self) -> Result<(), BuildError>;

    /// Takes all of these messages, or none of them. Returns at once; the receipt tells when they are as safe as
    /// [`BusSettings::acks`] promises. An engine that spans machines may learn only from its servers that one of them is refused or
    /// cannot be stored: the receipt then says so, although others of the same call may be stored. Sent again with their idempotency
    /// keys, they are taken once.
    ///
    /// A message whose idempotency key was seen within the window is not taken again: it counts as repeated, and its receipt waits
    /// for what the first one waits for.
    ///
    /// # Errors
    /// See [`Refused`]. The messages come back in the error and are given to no receiver.
    fn publish(&self, messages: Drafts) -> Result<Receipt, SendError>;

    /// Tells every subscription that an agent changed its state. Never refused: without room, the last change of each agent is kept
    /// and told later.
    fn publish_activity(&self, change: Activity);

    /// Returns when a message that was refused for now may be taken, or after a while. Cancel safe.
    async fn room(&self) {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }

    /// True while messages are taken: from [`start`](Self::start) to [`close`](Self::close), unless the engine broke.
    fn is_open(&self) -> bool;

    /// Takes nothing more. Subscriptions hand out what is left, then end. An engine whose messages outlive the process may end them
    /// sooner, and hands out the rest after the next start.
    fn close(&self);

    /// Ends the engine after all subscriptions have ended: writes what is left, releases files and connections.
    ///
    /// The caller bounds the time. Cancel safe: what is not written by then is lost as in a crash.
    async fn finish(&self) -> Leftover;

    /// The state of the engine for `/status`: an object, empty when there is nothing to tell.
    fn status(&self) -> serde_json::Value {
        serde_json::json!({})
    }

    /// Refreshes gauges before a scrape.
    fn refresh_metrics(&self) {}

    /// A small store shared by all nodes of the engine, where it spans machines.
    fn shared_store(&self) -> Option<Arc<dyn SharedStore>> {
        None
    }
}

/// What an engine can promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// The strongest [`Ack`] short of `Delivered`, which every engine gives.
    pub strongest_ack: Ack,
    /// Whether messages outlive the process: what was in hand at a crash is delivered again.
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

    /// Whether a message can be acknowledged this way.
    #[must_use]
    pub fn can_promise(&self, ack: Ack) -> bool {
        ack == Ack::Delivered || ack <= self.strongest_ack
    }
}

/// What an engine could not bring to an end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftover {
    /// Messages that were acknowledged with no more than `memory` and are gone.
    pub lost: u64,
}

impl fmt::Debug for dyn Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Engine({:?})", self.capabilities())
    }
}
