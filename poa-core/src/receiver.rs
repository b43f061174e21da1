//! Receivers: plugins that store messages, show them or forward them.

mod error;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::engine::{Receipt, SendError};
use crate::handler::Services;
use crate::telemetry::Telemetry;
use crate::{AgentId, BuildContext, DataTypes, Draft, Message, Timestamp};
pub use error::{DeliveryError, Rejected};

/// Receives messages from the host.
///
/// One task owns each receiver, so every method has `&mut self` and no lock is needed. The methods run one at a time; the events of one
/// agent are delivered in order. A receiver only classifies an error; retries, backoff and dead letters are the host's work.
///
/// A future of any of these methods may be dropped before it completes: when it exceeds its time limit, when the receiver is replaced,
/// or when the host stops. The receiver is then dropped too, and a new one is built; the events in flight are delivered again. So a
/// receiver stores by [message id](Message::id), and storing a message twice has the effect of storing it once.
///
/// ```
/// use std::io::{BufWriter, Write};
/// use poa_core::{ControlMessage, DeliveryError, Message, Receiver, async_trait};
///
/// /// Writes a line for each message. (A file blocks: a receiver for production writes in `spawn_blocking`.)
/// struct Lines<W: Write>(BufWriter<W>);
///
/// #[async_trait]
/// impl<W: Write + Send + 'static> Receiver for Lines<W> {
///     async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
///         for message in batch {
///             let json = message.payload().to_json().map_err(DeliveryError::permanent)?;
///             writeln!(self.0, "{} {json}", message.agent_id()).map_err(DeliveryError::transient)?;
///         }
///         // `Ok` confirms the batch, so nothing may remain in the buffer.
///         self.0.flush().map_err(DeliveryError::transient)
///     }
///
///     async fn handle_message(&mut self, message: ControlMessage) -> Result<(), DeliveryError> {
///         match message {
///             ControlMessage::Stopping => println!("the backlog follows, then `terminate`"),
///             _ => {}
///         }
///         Ok(())
///     }
/// }
/// # use poa_core::{AgentId, DataTypes, Draft, Payload, Timestamp, engine::IdGenerator};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let types = DataTypes::new(["readings"])?;
/// # let readings = types.get("readings").expect("declared above").clone();
/// # let draft = Draft::new(AgentId::new("pump-7")?, readings, Payload::json(&serde_json::json!({"bar": 3}))?);
/// # let now = Timestamp::now();
/// # let message = Message::stamp(draft, IdGenerator::new().next(now), now);
/// # let mut receiver = Lines(BufWriter::new(Vec::new()));
/// # receiver.metrics_received(&[message]).await?;
/// # receiver.handle_message(ControlMessage::Stopping).await?;
/// # assert_eq!(receiver.0.get_ref(), b"pump-7 {\"bar\":3}\n");
/// # Ok(())
/// # }
/// ```
#[async_trait]
#[diagnostic::on_unimplemented(note = "a receiver implements `poa_core::Receiver`")]
pub trait Receiver: Send + 'static {
    /// Called once, before anything else: the place to spawn tasks and open connections that live as long as the receiver. Tasks end
    /// when [`ReceiverContext::shutdown`] fires or the receiver is dropped.
    ///
    /// # Errors
    /// An error ends this instance; the host builds a new one after an increasing wait.
    async fn start(&mut self, cx: ReceiverContext) -> Result<(), DeliveryError> {
        let _ = cx;
        Ok(())
    }

    /// Messages of the subscribed data types, oldest first, at least one. Returning `Ok` confirms all of them.
    ///
    /// # Errors
    /// See [`DeliveryError`]. Unless the error says otherwise, no message counts as delivered.
    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError>;

    /// Agents that became inactive, at least one: they were silent for too long, or left.
    ///
    /// # Errors
    /// As for [`metrics_received`](Self::metrics_received).
    async fn handle_inactive(&mut self, agents: &[Activity]) -> Result<(), DeliveryError> {
        let _ = agents;
        Ok(())
    }

    /// Agents that became active, at least one: heard for the first time, or again after a silence.
    ///
    /// A receiver that is rebuilt while the host runs is first told which agents are active at that time, and since when. Changes in
    /// the backlog of its predecessor follow, so it may receive some twice.
    ///
    /// # Errors
    /// As for [`metrics_received`](Self::metrics_received).
    async fn handle_active(&mut self, agents: &[Activity]) -> Result<(), DeliveryError> {
        let _ = agents;
        Ok(())
    }

    /// A message from the host about itself.
    ///
    /// # Errors
    /// An error is logged and has no other effect.
    async fn handle_message(&mut self, message: ControlMessage) -> Result<(), DeliveryError> {
        let _ = message;
        Ok(())
    }

    /// The last call: flush and close. Its time is limited.
    async fn terminate(&mut self) {}

    /// The address of this receiver, if it listens: `ws://127.0.0.1:8181/ws`.
    fn endpoints(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The interface of a host to a running receiver. Cloning is cheap.
///
/// ```
/// use poa_core::telemetry::Counter;
/// use poa_core::{DeliveryError, Message, Receiver, ReceiverContext, async_trait};
///
/// #[derive(Default)]
/// struct Counting {
///     bytes: Option<Counter>,
/// }
///
/// #[async_trait]
/// impl Receiver for Counting {
///     async fn start(&mut self, cx: ReceiverContext) -> Result<(), DeliveryError> {
///         let labels = [("receiver", cx.name())];
///         self.bytes = Some(cx.telemetry().counter("payload_bytes", "Bytes of payloads", &labels));
///         Ok(())
///     }
///
///     async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
///         let bytes: usize = batch.iter().map(|message| message.payload().bytes().len()).sum();
///         self.bytes.iter().for_each(|counter| { counter.inc_by(bytes as u64); });
///         Ok(())
///     }
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use poa_core::{AgentId, Draft, Host, Payload, ReceiverOptions};
/// # let dir = tempfile::tempdir()?;
/// # let host = Host::builder().data_dir(dir.path()).data_types(["readings"])
/// #     .engine::<poa_engine_local::Memory>("memory", Default::default())
/// #     .ack(poa_core::Ack::Delivered)
/// #     .receiver_from("count", ReceiverOptions::subscribe(["readings"]), std::sync::Arc::new(|_| {
/// #         Box::pin(async { Ok(Box::new(Counting::default()) as Box<dyn Receiver>) })
/// #     }))
/// #     .start().await?;
/// # let handle = host.handle();
/// # let readings = handle.data_types().get("readings").expect("declared above").clone();
/// # let payload = Payload::json(&serde_json::json!({"n": 1}))?;
/// # handle.send_to_receivers(Draft::new(AgentId::new("a")?, readings, payload))?.await?;
/// # assert!(handle.metrics().contains(r#"poa_payload_bytes_total{receiver="count"} 7"#));
/// # assert!(host.stop().await.is_clean());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ReceiverContext {
    pub(crate) name: Arc<str>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) services: Arc<Services>,
}

impl ReceiverContext {
    /// The context of a receiver outside of any host, for tests: what it sends is refused as by a host that is stopping.
    #[must_use]
    pub fn detached(build: &BuildContext) -> Self {
        let services = Services::detached(build.data_types().clone(), build.telemetry().clone());
        let shutdown = CancellationToken::new();
        Self { name: build.name.clone(), shutdown, services: Arc::new(services) }
    }

    /// The name of the receiver, the `x` of `[receivers.x]`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Fires when the receiver is to stop, because the host stops or the receiver is replaced or removed.
    #[must_use]
    pub fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// The registry for counters and gauges.
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        &self.services.telemetry
    }

    /// The data types the host accepts.
    #[must_use]
    pub fn data_types(&self) -> &DataTypes {
        &self.services.data_types
    }

    /// Sends a message into the host, as a handler does: for receivers that derive messages from others.
    ///
    /// # Errors
    /// As [`HandlerContext::send_to_receivers`](crate::HandlerContext::send_to_receivers).
    pub fn send_to_receivers(&self, message: Draft) -> Result<Receipt, SendError> {
        self.services.way.send(message.into(), &self.services.data_types)
    }

    /// Tells every receiver that an agent is inactive, unless they were told already.
    pub fn publish_inactive(&self, agent: &AgentId) {
        self.services.activity.bye(agent);
    }
}

impl fmt::Debug for ReceiverContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiverContext").field("name", &self.name).finish_non_exhaustive()
    }
}

/// An agent whose state changed.
///
/// ```
/// use poa_core::{Activity, AgentId, Timestamp};
///
/// /// The text of an alarm, for a receiver's `handle_inactive`.
/// fn alarm(change: &Activity) -> String {
///     format!("{} has been silent since {}", change.agent_id, change.since)
/// }
///
/// let change = Activity::new(AgentId::new("pump-7")?, false, Timestamp::from_micros(0));
/// assert_eq!(alarm(&change), "pump-7 has been silent since 1970-01-01T00:00:00.000000Z");
/// # Ok::<(), poa_core::InvalidAgentId>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Activity {
    /// The agent.
    pub agent_id: AgentId,
    /// Its state from now on.
    pub active: bool,
    /// The time at which the state changed.
    pub since: Timestamp,
}

impl Activity {
    /// An agent that became active or inactive at `since`.
    #[must_use]
    pub fn new(agent_id: AgentId, active: bool, since: Timestamp) -> Self {
        Self { agent_id, active, since }
    }
}

/// A notification of the host about itself.
///
/// See [`Receiver`] for an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ControlMessage {
    /// The host is stopping. The backlog will be delivered, then [`Receiver::terminate`] is called.
    Stopping,
}
