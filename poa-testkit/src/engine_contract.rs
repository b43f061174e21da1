//! The engine contract, for engines of the bus.

mod bounds;
mod closing;
mod cursors;
mod cuts;
mod got;
mod keys;
mod order;
mod receipts;
mod space;
mod storage;

use std::fmt;
use std::path::Path;

use poa_core::EngineFactory;

use space::Space;

/// The state of an engine's storage from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// Nothing can be written.
    Fails,
    /// It works again.
    Works,
}

type Fault = Box<dyn Fn(&Path, Storage)>;

/// Checks an engine against the contract of [`poa_core::engine::Engine`].
///
/// It needs a function that makes a factory of the engine *with storage of its own*: each part of the contract calls it once, and builds
/// from that factory as often as the engine is started again. An engine on servers, for example, takes another prefix for each
/// factory. Every factory is also given a data directory of its own. The contract checks that:
///
/// - a subscription gets the messages of its types and all changes of activity, once, in order per agent, at increasing positions;
/// - events that are given back are handed out again, before all others; a second subscription of the same name takes over; batches keep to
///   their limits;
/// - receipts resolve when `ack` is fulfilled and never before, and fail if a message was dead-lettered, took too long or was cut off by a
///   stop;
/// - a call accepts all of its messages or none, and returns those that it refused;
/// - a message whose idempotency key was seen is accepted once, and one with the same key and other content is refused, also after a
///   restart;
/// - events that were stored and not confirmed are handed out after a restart, orderly or not, and those confirmed before an orderly one
///   are not;
/// - the backlog keeps to its limit by each of the three policies, and other subscriptions lose nothing by it;
/// - a close during other calls ends every call, and hands out what was accepted;
/// - calls that are dropped at any of their awaits have no effect, or their whole effect;
/// - while the storage fails nothing counts as stored, and once it works again messages are accepted again
///   (see [`with_storage_fault`](Self::with_storage_fault)).
///
/// Promises that the engine's [`Capabilities`](poa_core::engine::Capabilities) exclude are not checked.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use poa_core::engine_factory;
/// use poa_engine_local::{Memory, MemoryConfig};
/// use poa_testkit::EngineContract;
///
/// EngineContract::new(|| engine_factory::<Memory>(MemoryConfig::default())).check().await;
/// # }
/// ```
pub struct EngineContract {
    fresh: Box<dyn Fn() -> EngineFactory>,
    fault: Option<Fault>,
}

impl EngineContract {
    /// The contract for the engines that these factories build. Each call of `fresh` returns a factory with empty storage.
    #[must_use]
    pub fn new(fresh: impl Fn() -> EngineFactory + 'static) -> Self {
        Self { fresh: Box::new(fresh), fault: None }
    }

    /// Also checks what happens when the storage fails: `fault` is called with the data directory of the engine, and makes its storage
    /// fail or work again.
    #[must_use]
    pub fn with_storage_fault(mut self, fault: impl Fn(&Path, Storage) + 'static) -> Self {
        self.fault = Some(Box::new(fault));
        self
    }

    /// Checks everything that the engine can promise.
    ///
    /// # Panics
    /// When the engine breaks the contract; the message says how.
    pub async fn check(&self) {
        order::hands_out_what_was_subscribed(&self.space()).await;
        order::hands_out_again_what_was_given_back(&self.space()).await;
        order::is_taken_over(&self.space()).await;
        receipts::resolve_without_receivers(&self.space()).await;
        receipts::wait_for_delivery(&self.space()).await;
        receipts::do_not_wait_for_removed_receivers(&self.space()).await;
        receipts::refuse_all_or_nothing(&self.space()).await;
        keys::are_taken_once(&self.space()).await;
        cursors::outlive_an_orderly_end(&self.space()).await;
        cursors::outlive_a_crash(&self.space()).await;
        cursors::begin_where_they_are_asked_to(&self.space()).await;
        bounds::refuse(&self.space()).await;
        bounds::skip(&self.space()).await;
        bounds::set_aside(&self.space()).await;
        closing::ends_everything(&self.space()).await;
        cuts::lose_no_batch(&self.space()).await;
        cuts::leave_a_subscription_whole(&self.space()).await;
        cuts::lose_nothing_stored(&self.space()).await;
        if let Some(fault) = &self.fault {
            storage::fails_and_works_again(&self.space(), fault).await;
        }
    }

    fn space(&self) -> Space {
        Space::new((self.fresh)())
    }
}

impl fmt::Debug for EngineContract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineContract")
            .field("with_storage_fault", &self.fault.is_some())
            .finish_non_exhaustive()
    }
}
