//! Handlers: plugins that speak a protocol to clients and turn what they receive into messages.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::activity::ActivityMonitor;
use crate::auth::Authenticator;
use crate::bus::{Bus, check_types};
use crate::engine::{Drafts, Receipt, SendError};
use crate::error::or_default;
use crate::observer::Observers;
use crate::relay::Relay;
use crate::telemetry::Telemetry;
use crate::{AgentId, DataTypes, Draft, MemoryBudget, PluginError};

/// Speaks a protocol to clients and sends what it receives as messages into the host.
///
/// ```
/// use std::time::Duration;
/// use poa_core::{AgentId, CustomHandler, Draft, HandlerContext, Payload, PluginError, async_trait};
///
/// /// Sends the load of this machine each second.
/// struct Load;
///
/// #[async_trait]
/// impl CustomHandler for Load {
///     async fn run(&mut self, cx: HandlerContext) -> Result<(), PluginError> {
///         let missing = || PluginError::new("the host has no data type `load`; declare it");
///         let load = cx.data_types().get("load").ok_or_else(missing)?.clone();
///         let failed = |error| PluginError::new("cannot read the load").with_source(error);
///         let mut second = tokio::time::interval(Duration::from_secs(1));
///         while cx.shutdown().run_until_cancelled(second.tick()).await.is_some() {
///             let payload = Payload::json(&serde_json::json!({"load": 0.7})).map_err(failed)?;
///             let agent = AgentId::new("this-machine").expect("it has no control characters");
///             match cx.send_to_receivers(Draft::new(agent, load.clone(), payload)) {
///                 Ok(receipt) => drop(receipt), // a protocol with answers awaits it, then answers
///                 Err(refused) => println!("not sent: {refused}"),
///             }
///         }
///         Ok(())
///     }
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use poa_core::{Host, ReceiverOptions, receiver_fn};
/// # let (sender, mut messages) = tokio::sync::mpsc::channel(10);
/// # let receiver = receiver_fn(move |batch: Vec<poa_core::Message>| {
/// #     let sender = sender.clone();
/// #     async move {
/// #         for message in batch { sender.send(message).await.map_err(poa_core::DeliveryError::transient)?; }
/// #         Ok(())
/// #     }
/// # });
/// # let dir = tempfile::tempdir()?;
/// # let host = Host::builder().data_dir(dir.path()).data_types(["load"])
/// #     .engine::<poa_engine_local::Memory>("memory", Default::default())
/// #     .receiver_from("messages", ReceiverOptions::subscribe(["load"]), receiver)
/// #     .handler_from("load", std::sync::Arc::new(|_| {
/// #         Box::pin(async { Ok(Box::new(Load) as Box<dyn CustomHandler>) })
/// #     }))
/// #     .start().await?;
/// # assert_eq!(messages.recv().await.expect("a message").agent_id().as_str(), "this-machine");
/// # assert!(host.stop().await.is_clean());
/// # Ok(())
/// # }
/// ```
#[async_trait]
#[diagnostic::on_unimplemented(note = "a handler implements `poa_core::CustomHandler`")]
pub trait CustomHandler: Send + 'static {
    /// Serves until told to stop.
    ///
    /// When [`HandlerContext::shutdown`] fires: accept nothing new, answer the requests in flight, return `Ok`. The time for that is
    /// limited; afterwards the future is dropped. Tasks it spawned must end with it.
    ///
    /// # Errors
    /// An error, a panic or an early return ends this instance; the host builds a new one.
    async fn run(&mut self, cx: HandlerContext) -> Result<(), PluginError>;

    /// The address of this handler for clients: `http://127.0.0.1:4002`. Known once it is built.
    fn endpoints(&self) -> Vec<String> {
        Vec::new()
    }

    /// How long an agent of this handler may be silent before it is inactive, if not as long as the host says
    /// ([`HostBuilder::inactive_after`](crate::HostBuilder::inactive_after)). Asked once, when the handler is built.
    fn inactive_after(&self) -> Option<Duration> {
        None
    }
}

/// The interface of a host to a running handler. Cloning is cheap.
///
/// See [`CustomHandler`] for an example.
#[derive(Clone)]
pub struct HandlerContext {
    pub(crate) name: Arc<str>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) services: Arc<Services>,
}

/// The state that all handlers of a host share.
#[derive(Clone)]
pub(crate) struct Services {
    pub(crate) way: Way,
    pub(crate) activity: ActivityMonitor,
    pub(crate) authenticator: Option<Arc<dyn Authenticator>>,
    pub(crate) data_types: DataTypes,
    pub(crate) memory: MemoryBudget,
    pub(crate) telemetry: Telemetry,
    pub(crate) observers: Observers,
}

impl Services {
    /// The same for a handler, with the timeout of its agents.
    pub(crate) fn of_handler(self: &Arc<Self>, handler: &dyn CustomHandler) -> Arc<Self> {
        let Some(timeout) = or_default(|| handler.inactive_after()) else { return self.clone() };
        let activity = self.activity.clone().with_timeout(timeout);
        Arc::new(Self { activity, ..Self::clone(self) })
    }
}

impl HandlerContext {
    /// The name of the handler, the `x` of `[handlers.x]`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The data types the host accepts.
    #[must_use]
    pub fn data_types(&self) -> &DataTypes {
        &self.services.data_types
    }

    /// Sends a message to every receiver that subscribes to its data type.
    ///
    /// Returns immediately. Await the [`Receipt`] to learn when the message has reached the level that `ack` sets; it also has the id
    /// of the message.
    ///
    /// # Errors
    /// When a backlog is full, no receiver subscribes, or the host is stopping. The message is returned in the error, and was
    /// delivered to no receiver.
    pub fn send_to_receivers(&self, message: Draft) -> Result<Receipt, SendError> {
        self.services.way.send(message.into(), &self.services.data_types)
    }

    /// Sends several messages to the receivers: all of them or none.
    ///
    /// # Errors
    /// As [`send_to_receivers`](Self::send_to_receivers).
    pub fn send_all_to_receivers(&self, messages: Vec<Draft>) -> Result<Receipt, SendError> {
        self.services.way.send(messages.into(), &self.services.data_types)
    }

    /// Sends messages as [`send_all_to_receivers`](Self::send_all_to_receivers), but waits while they are refused with a transient
    /// error.
    ///
    /// Cancel safe: a call that is dropped has sent nothing.
    ///
    /// # Errors
    /// When waiting does not help, or the host is stopping.
    pub async fn send_when_ready(&self, messages: Vec<Draft>) -> Result<Receipt, SendError> {
        self.services.way.send_when_ready(messages.into(), &self.services.data_types).await
    }

    /// Tells every receiver that an agent is inactive, unless they were told already.
    pub fn publish_inactive(&self, agent: &AgentId) {
        self.services.activity.bye(agent);
    }

    /// Detects agents that fall silent.
    #[must_use]
    pub fn activity(&self) -> &ActivityMonitor {
        &self.services.activity
    }

    /// The authenticator, if the host has one.
    #[must_use]
    pub fn authenticator(&self) -> Option<&Arc<dyn Authenticator>> {
        self.services.authenticator.as_ref()
    }

    /// The limit on the memory that all request bodies in flight may take.
    #[must_use]
    pub fn memory(&self) -> &MemoryBudget {
        &self.services.memory
    }

    /// The registry for counters and gauges.
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        &self.services.telemetry
    }

    /// Fires when the handler is to stop.
    #[must_use]
    pub fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }
}

/// The destination of a plugin's messages.
#[derive(Clone)]
pub(crate) enum Way {
    /// The bus of this host.
    Here(Bus),
    /// The host that this plugin belongs to.
    There(Arc<dyn Relay>),
}

impl Way {
    pub(crate) fn send(&self, messages: Drafts, types: &DataTypes) -> Result<Receipt, SendError> {
        match self {
            Self::Here(bus) => bus.publish(messages),
            Self::There(relay) => {
                let sent = check_types(types, messages.as_slice())
                    .and_then(|()| relay.send(messages.as_slice()));
                sent.map_err(|reason| SendError::new(reason, messages))
            }
        }
    }

    async fn send_when_ready(
        &self,
        messages: Drafts,
        types: &DataTypes,
    ) -> Result<Receipt, SendError> {
        match self {
            Self::Here(bus) => bus.publish_when_ready(messages).await,
            // The host on the other side limits what it queues; the plugin's own runtime must not wait for it.
            Self::There(_) => self.send(messages, types),
        }
    }
}

impl fmt::Debug for HandlerContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerContext").field("name", &self.name).finish_non_exhaustive()
    }
}
