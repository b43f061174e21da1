//! A receiver that fails on demand.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use poa_core::{
    Activity, BuildError, ControlMessage, DeliveryError, Message, Receiver, ReceiverContext,
    ReceiverFactory, async_trait,
};

/// A fault of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// A transient error. The inner receiver is not called.
    Transient,
    /// A permanent error that names no item. The inner receiver is not called.
    Permanent,
    /// A permanent error for these items. The inner receiver is not called.
    PermanentFor(Vec<usize>),
    /// A panic. The inner receiver is not called.
    Panic,
    /// The call never returns. The inner receiver is not called.
    Hang,
    /// The call takes this long, then succeeds.
    Slow(Duration),
    /// The inner receiver does its work, but a transient error is returned: the confirmation is lost.
    Unconfirmed,
    /// The inner receiver does its work, and then this fault occurs: a panic, an error, a call that never returns.
    After(Box<Fault>),
}

impl Fault {
    /// This fault after the inner receiver has done its work.
    ///
    /// ```
    /// use poa_testkit::{Fault, Faults};
    ///
    /// let faults = Faults::every(3, Fault::Hang.after());
    /// ```
    #[must_use]
    pub fn after(self) -> Self {
        Self::After(Box::new(self))
    }

    /// Performs the fault.
    async fn befall(&self) -> Result<(), DeliveryError> {
        match self {
            Self::Transient | Self::Unconfirmed => Err(DeliveryError::transient("injected")),
            Self::Permanent => Err(DeliveryError::permanent("injected")),
            Self::PermanentFor(items) => {
                Err(DeliveryError::permanent_for(items.clone(), "injected"))
            }
            Self::Panic => panic!("injected"),
            Self::Hang => std::future::pending().await,
            Self::Slow(time) => {
                tokio::time::sleep(*time).await;
                Ok(())
            }
            Self::After(fault) => Box::pin(fault.befall()).await,
        }
    }
}

/// Makes a call with its fault.
async fn suffer(
    fault: Option<Fault>,
    call: impl Future<Output = Result<(), DeliveryError>>,
) -> Result<(), DeliveryError> {
    match fault {
        Some(fault @ (Fault::Unconfirmed | Fault::After(_))) => {
            call.await?;
            fault.befall().await
        }
        Some(fault) => {
            fault.befall().await?;
            call.await
        }
        None => call.await,
    }
}

/// The steps of a receiver that a fault can affect.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Step<'a> {
    /// A receiver is built.
    Build,
    /// It gets these messages.
    Batch(&'a [Message]),
    /// It is notified of these agents.
    Activity(&'a [Activity]),
    /// It is terminated.
    Terminate,
}

type Plan = dyn Fn(u64, Step<'_>) -> Option<Fault> + Send + Sync;

/// A plan of faults. Cloning is cheap; clones share their count of calls, over all instances of the receiver.
#[derive(Clone)]
pub struct Faults(Arc<Inner>);

struct Inner {
    plan: Box<Plan>,
    builds: AtomicU64,
    batches: AtomicU64,
    activities: AtomicU64,
    terminations: AtomicU64,
}

impl Faults {
    /// Asks the closure before every step for its fault. The number counts the steps of that kind, from 1.
    pub fn new(plan: impl Fn(u64, Step<'_>) -> Option<Fault> + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner {
            plan: Box::new(plan),
            builds: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            activities: AtomicU64::new(0),
            terminations: AtomicU64::new(0),
        }))
    }

    /// Every `n`th batch has this fault.
    #[must_use]
    pub fn every(n: u64, fault: Fault) -> Self {
        Self::batches(move |count, _| count.is_multiple_of(n).then(|| fault.clone()))
    }

    /// The first `n` batches have this fault.
    #[must_use]
    pub fn first(n: u64, fault: Fault) -> Self {
        Self::batches(move |count, _| (count <= n).then(|| fault.clone()))
    }

    /// Every batch with a message of this kind has this fault.
    pub fn poison(
        is_poison: impl Fn(&Message) -> bool + Send + Sync + 'static,
        fault: Fault,
    ) -> Self {
        Self::batches(move |_, batch| batch.iter().any(&is_poison).then(|| fault.clone()))
    }

    fn batches(plan: impl Fn(u64, &[Message]) -> Option<Fault> + Send + Sync + 'static) -> Self {
        Self::new(move |count, step| match step {
            Step::Batch(batch) => plan(count, batch),
            _ => None,
        })
    }

    /// Wraps a factory, so that its receivers have these faults.
    #[must_use]
    pub fn around(&self, factory: ReceiverFactory) -> ReceiverFactory {
        let faults = self.clone();
        Arc::new(move |cx| {
            let (faults, building) = (faults.clone(), factory(cx));
            Box::pin(async move {
                if let Some(fault) = faults.next(Step::Build) {
                    let befallen = fault.befall().await;
                    befallen
                        .map_err(|error| BuildError::unavailable("injected").with_source(error))?;
                }
                let receiver = FaultyReceiver { receiver: building.await?, faults };
                Ok(Box::new(receiver) as Box<dyn Receiver>)
            })
        })
    }

    /// The number of batches tried so far.
    #[must_use]
    pub fn batches_tried(&self) -> u64 {
        self.0.batches.load(Ordering::SeqCst)
    }

    /// Counts this step, and returns its fault.
    fn next(&self, step: Step<'_>) -> Option<Fault> {
        let count = self.0.counter(step).fetch_add(1, Ordering::SeqCst) + 1;
        (self.0.plan)(count, step)
    }
}

impl Inner {
    fn counter(&self, step: Step<'_>) -> &AtomicU64 {
        match step {
            Step::Build => &self.builds,
            Step::Batch(_) => &self.batches,
            Step::Activity(_) => &self.activities,
            Step::Terminate => &self.terminations,
        }
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Faults({} batches tried)", self.batches_tried())
    }
}

/// A receiver with faults before and after an inner one; created by [`Faults::around`].
pub struct FaultyReceiver {
    receiver: Box<dyn Receiver>,
    faults: Faults,
}

// Calls of a method that is not forwarded would not reach the inner receiver.
#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Receiver for FaultyReceiver {
    async fn start(&mut self, cx: ReceiverContext) -> Result<(), DeliveryError> {
        self.receiver.start(cx).await
    }

    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        suffer(self.faults.next(Step::Batch(batch)), self.receiver.metrics_received(batch)).await
    }

    async fn handle_inactive(&mut self, agents: &[Activity]) -> Result<(), DeliveryError> {
        suffer(self.faults.next(Step::Activity(agents)), self.receiver.handle_inactive(agents))
            .await
    }

    async fn handle_active(&mut self, agents: &[Activity]) -> Result<(), DeliveryError> {
        suffer(self.faults.next(Step::Activity(agents)), self.receiver.handle_active(agents)).await
    }

    async fn handle_message(&mut self, message: ControlMessage) -> Result<(), DeliveryError> {
        self.receiver.handle_message(message).await
    }

    async fn terminate(&mut self) {
        // An error has no effect here, and a receiver is terminated in any case.
        if let Some(fault) = self.faults.next(Step::Terminate) {
            let _ = fault.befall().await;
        }
        self.receiver.terminate().await;
    }

    fn endpoints(&self) -> Vec<String> {
        self.receiver.endpoints()
    }
}

impl fmt::Debug for FaultyReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyReceiver").field("faults", &self.faults).finish_non_exhaustive()
    }
}
