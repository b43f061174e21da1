//! The receiver contract, for receivers that store.

mod direct;
mod hosted;

use std::fmt;

use poa_core::{Message, ReceiverFactory};

use crate::{METRICS, Samples};
use direct::Bench;

/// Checks a receiver that stores messages against the contract of [`poa_core::Receiver`].
///
/// It needs a factory of the receiver, and a function that reads back the [ids](Message::id) of the stored messages, as text, in the order
/// in which they were stored; a store without an order returns them sorted. The store can contain other messages, too. The contract checks that:
///
/// - it [starts](poa_core::Receiver::start), once for each instance, before its first call;
/// - every message is stored, once, in order per agent;
/// - the same batch again, an overlapping one, and one whose confirmation was lost leave no duplicate and no gap;
/// - the same holds when a call is dropped at any of its awaits; when instances are slow, fail, panic and hang in turn, before
///   and after their work; and when a batch is delivered again in halves;
/// - any object is accepted: empty, deep, with wide numbers, with any character, in both formats;
/// - a malformed payload is a permanent error with its index, or rejected, and only that message is dead-lettered;
/// - changes of activity and control messages are accepted, twice as well as once;
/// - confirmed messages are released, so that memory is limited;
/// - it stops in time, also with messages in flight, and confirmed messages are still stored after a rebuild;
/// - it leaves no task behind, nor does one that is built and never used, or started and dropped.
///
/// Instances are first built one after the other with the same data directory, as by one host, and then by hosts with their own
/// directories.
///
/// For a receiver without network I/O, pause time (`#[tokio::test(start_paused = true)]`), so that delays take no time.
/// Otherwise the suite takes a few seconds, most of them for the receiver that hangs.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use std::collections::BTreeSet;
/// use std::sync::{Arc, Mutex};
///
/// use poa_core::{DeliveryError, Message, Receiver, async_trait};
/// use poa_testkit::ReceiverContract;
///
/// /// Stores in memory what is JSON.
/// struct Shelf(Arc<Mutex<BTreeSet<String>>>);
///
/// #[async_trait]
/// impl Receiver for Shelf {
///     async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
///         for (index, message) in batch.iter().enumerate() {
///             let json = message.payload().read::<Box<serde_json::value::RawValue>>();
///             json.map_err(|error| DeliveryError::permanent_for(vec![index], error))?;
///         }
///         self.0.lock().unwrap().extend(batch.iter().map(|message| message.id().to_string()));
///         Ok(())
///     }
/// }
///
/// let shelf = Arc::new(Mutex::new(BTreeSet::new()));
/// let held = shelf.clone();
/// let factory: poa_core::ReceiverFactory = Arc::new(move |_| {
///     let receiver = Box::new(Shelf(held.clone())) as Box<dyn Receiver>;
///     Box::pin(async { Ok(receiver) })
/// });
/// let stored = async || shelf.lock().unwrap().iter().cloned().collect();
/// ReceiverContract::new(factory, stored).data_types(["pumps", "valves"]).check().await;
/// # }
/// ```
pub struct ReceiverContract<S> {
    factory: ReceiverFactory,
    stored: S,
    data_types: Vec<String>,
}

impl<S: AsyncFn() -> Vec<String>> ReceiverContract<S> {
    /// The contract for the receivers that this factory builds, and the ids of what they have stored.
    #[must_use]
    pub fn new(factory: ReceiverFactory, stored: S) -> Self {
        Self { factory, stored, data_types: METRICS.map(str::to_owned).to_vec() }
    }

    /// Sets the data types of the messages; [`METRICS`] if not set. At least one.
    #[must_use]
    pub fn data_types<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.data_types = names.into_iter().map(Into::into).collect();
        self
    }

    /// Checks everything.
    ///
    /// # Panics
    /// When the receiver breaks the contract; the message says how.
    pub async fn check(&self) {
        let (bench, mut samples) =
            (Bench::new(self), Samples::new(&self.data_types).starting_now());
        let stored = &self.stored;
        direct::leaves_no_task(&bench, &mut samples).await;
        direct::takes_a_batch_again(&bench, &mut samples, stored).await;
        direct::tells_messages_of_one_moment_apart(&bench, &mut samples, stored).await;
        direct::keeps_what_was_confirmed(&bench, &mut samples, stored).await;
        direct::survives_a_call_cut_off_anywhere(&bench, &mut samples, stored).await;
        direct::takes_any_object(&bench, &mut samples, stored).await;
        direct::refuses_the_unreadable_for_good(&bench, &mut samples, stored).await;
        direct::takes_activity_and_control(&bench).await;
        direct::keeps_nothing_in_memory(&bench, &mut samples).await;
        hosted::stores_all_in_order(self).await;
        hosted::stores_once_when_confirmations_get_lost(self).await;
        hosted::comes_through_faults(self).await;
        hosted::comes_through_faults_after_its_work(self).await;
        hosted::stops_in_the_middle(self).await;
        hosted::sets_only_the_unreadable_aside(self).await;
    }

    /// The data type of most messages.
    fn data_type(&self) -> &str {
        self.data_types.first().expect("the contract needs a data type")
    }
}

impl<S> fmt::Debug for ReceiverContract<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiverContract")
            .field("data_types", &self.data_types)
            .finish_non_exhaustive()
    }
}

/// [`ReceiverContract`] with everything as it is by default.
///
/// # Panics
/// When the receiver breaks the contract; the message says how.
pub async fn receiver_contract<S>(factory: ReceiverFactory, stored: S)
where
    S: AsyncFn() -> Vec<String>,
{
    ReceiverContract::new(factory, stored).check().await;
}

/// Panics unless exactly these messages are stored, each once, in order per agent; other messages are ignored.
async fn assert_stored<S: AsyncFn() -> Vec<String>>(what: &str, sent: &[Message], stored: &S) {
    let all = stored().await;
    for message in sent {
        let id = message.id().to_string();
        let times = all.iter().filter(|stored| **stored == id).count();
        assert_eq!(times, 1, "{what}: message {id} is stored {times} times");
    }
    let place = |message: &Message| {
        let id = message.id().to_string();
        all.iter().position(|stored| *stored == id)
    };
    for (index, message) in sent.iter().enumerate() {
        let same_agent = |later: &&Message| later.agent_id() == message.agent_id();
        let Some(next) = sent[index + 1..].iter().find(same_agent) else { continue };
        assert!(
            place(message) < place(next),
            "{what}: {next:?} is stored before {message:?} of the same agent"
        );
    }
}
