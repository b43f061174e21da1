//! Observes messages on their way from a handler to the receivers.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::error::panic_message;
use crate::{AgentId, DataType, Message, MessageId, ReceiptError, Timestamp};

/// Sees messages as they are acknowledged and delivered, to inspect or trace a running host. Called after the fact, outside of every lock,
/// on the task of the handler or receiver: must not block. A panic is logged, and harms neither the delivery nor other observers.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
/// use poa_core::{Attempt, Host, Message, Observer};
///
/// /// Counts deliveries, for the page of a service that embeds a host.
/// #[derive(Default)]
/// struct Deliveries(AtomicUsize);
///
/// impl Observer for Deliveries {
///     fn delivered(&self, attempt: &Attempt<'_>) {
///         self.0.fetch_add(attempt.messages.len(), Relaxed);
///     }
///     fn failed(&self, attempt: &Attempt<'_>, error: &str) {
///         eprintln!("{}, attempt {}: {error}", attempt.receiver, attempt.number);
///     }
///     fn set_aside(&self, receiver: &str, message: &Message, reason: &str) {
///         eprintln!("{receiver}: {} is a dead letter: {reason}", message.id());
///     }
/// }
///
/// let deliveries = Arc::new(Deliveries::default());
/// let builder = Host::builder().observer(deliveries.clone());
/// # drop(builder);
/// # deliveries.delivered(&Attempt::new("store", &[]));
/// ```
pub trait Observer: Send + Sync + 'static {
    /// Whether this observer sees acknowledgements, for which the host notes a few facts of every message. Constant. Default: no.
    fn sees_acknowledgements(&self) -> bool {
        false
    }

    /// A message was acknowledged, or not; see [`Acknowledgement::outcome`]. Not called for duplicates and for messages that were
    /// refused, which have no id.
    fn acknowledged(&self, _: &Acknowledgement<'_>) {}

    /// A receiver has confirmed these messages.
    fn delivered(&self, attempt: &Attempt<'_>);

    /// A receiver has not confirmed these messages; they will be retried, divided to isolate the poison message, or dead-lettered.
    fn failed(&self, attempt: &Attempt<'_>, error: &str);

    /// A message became a dead letter of this receiver.
    fn set_aside(&self, receiver: &str, message: &Message, reason: &str);
}

/// One call of a receiver, and the messages for which it had the same result.
///
/// See [`Observer`] for an example.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Attempt<'a> {
    /// The name of the receiver.
    pub receiver: &'a str,
    /// The messages with this result.
    pub messages: &'a [Message],
    /// The number of messages in the call, which may have had other results.
    pub batch: usize,
    /// How often these messages were given to the receiver since the engine handed them out, this call included.
    pub number: u32,
    /// The time at which the call began.
    pub began_at: Timestamp,
    /// The time at which the call ended; not before it began.
    pub ended_at: Timestamp,
}

impl<'a> Attempt<'a> {
    /// The first attempt, now, with these messages: for tests of observers.
    #[must_use]
    pub fn new(receiver: &'a str, messages: &'a [Message]) -> Self {
        let now = Timestamp::now();
        let batch = messages.len();
        Self { receiver, messages, batch, number: 1, began_at: now, ended_at: now }
    }
}

/// The end of a handler's call for one message.
///
/// ```
/// use poa_core::{Acknowledgement, Attempt, Message, Observer};
///
/// /// Logs messages that handlers could not acknowledge.
/// struct Unacknowledged;
///
/// impl Observer for Unacknowledged {
///     fn sees_acknowledgements(&self) -> bool {
///         true
///     }
///     fn acknowledged(&self, of: &Acknowledgement<'_>) {
///         if let Some(Err(error)) = of.outcome {
///             let waited = of.ended_at.since(of.received_at);
///             eprintln!("{} of {} after {waited:?}: {error}", of.data_type, of.agent_id);
///         }
///     }
///     fn delivered(&self, _: &Attempt<'_>) {}
///     fn failed(&self, _: &Attempt<'_>, _: &str) {}
///     fn set_aside(&self, _: &str, _: &Message, _: &str) {}
/// }
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Acknowledgement<'a> {
    /// The id of the message.
    pub id: MessageId,
    /// The agent that sent it.
    pub agent_id: &'a AgentId,
    /// The data type.
    pub data_type: &'a DataType,
    /// The length of the payload.
    pub bytes: usize,
    /// The span in which the message was sent, if the handler attached it.
    pub sender_span: Option<SenderSpan>,
    /// The time at which the handler passed the message to the host.
    pub received_at: Timestamp,
    /// The time at which the receipt resolved or was dropped; not before `received_at`.
    pub ended_at: Timestamp,
    /// The result of the receipt; none if the handler dropped it before.
    pub outcome: Option<Result<(), &'a ReceiptError>>,
}

impl<'a> Acknowledgement<'a> {
    /// The acknowledgement of an empty message, received and stored now: for tests of observers.
    #[must_use]
    pub fn new(id: MessageId, agent_id: &'a AgentId, data_type: &'a DataType) -> Self {
        let now = Timestamp::now();
        Self {
            id,
            agent_id,
            data_type,
            bytes: 0,
            sender_span: None,
            received_at: now,
            ended_at: now,
            outcome: Some(Ok(())),
        }
    }
}

/// The span of a trace in which an agent sent a message, so that the message's own trace can be linked to it. A handler attaches it to the draft.
///
/// ```
/// use poa_core::{AgentId, DataTypes, Draft, Payload, SenderSpan};
///
/// # let types = DataTypes::new(["readings"])?;
/// # let readings = types.get("readings").expect("declared above").clone();
/// # let draft = Draft::new(AgentId::new("pump-7")?, readings, Payload::json(&serde_json::json!({}))?);
/// let span = SenderSpan::new([7; 16], [1; 8]).expect("no id is zero");
/// let draft = draft.with_extension(span);
/// assert_eq!(draft.extension(), Some(&span));
/// # Ok::<(), poa_core::BoxError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderSpan {
    trace_id: [u8; 16],
    span_id: [u8; 8],
}

impl SenderSpan {
    /// The span of these ids; none if one is zero, which is not a valid id.
    #[must_use]
    pub fn new(trace_id: [u8; 16], span_id: [u8; 8]) -> Option<Self> {
        let valid = trace_id != [0; 16] && span_id != [0; 8];
        valid.then_some(Self { trace_id, span_id })
    }

    /// The id of the trace.
    #[must_use]
    pub fn trace_id(&self) -> &[u8; 16] {
        &self.trace_id
    }

    /// The id of the span.
    #[must_use]
    pub fn span_id(&self) -> &[u8; 8] {
        &self.span_id
    }
}

/// The observers of a host. Cloning is cheap.
#[derive(Clone, Default)]
pub(crate) struct Observers(Arc<[Arc<dyn Observer>]>);

impl Observers {
    pub(crate) fn with(&self, observer: Arc<dyn Observer>) -> Self {
        Self(self.0.iter().cloned().chain([observer]).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that see acknowledgements.
    pub(crate) fn of_acknowledgements(&self) -> Self {
        let those = self.0.iter().filter(|observer| observer.sees_acknowledgements());
        Self(those.cloned().collect())
    }

    /// The current time, if there is an observer who would see it.
    pub(crate) fn now(&self) -> Option<Timestamp> {
        (!self.is_empty()).then(Timestamp::now)
    }

    /// Tells each of them. One that panics has missed this; what it would see has happened all the same.
    pub(crate) fn each(&self, look: impl Fn(&dyn Observer)) {
        for observer in self.0.iter() {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| look(&**observer))) {
                tracing::error!("an observer panicked: {}", panic_message(&*panic));
            }
        }
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Observers({})", self.0.len())
    }
}
