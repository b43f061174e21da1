//! Contexts backed by another host's: plugins in another process or library use them to run handlers and receivers.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::activity::ActivityMonitor;
use crate::auth::Authenticator;
use crate::engine::{Receipt, Refused};
use crate::handler::{Services, Way};
use crate::observer::Observers;
use crate::telemetry::Telemetry;
use crate::{AgentId, DataTypes, Draft, HandlerContext, MemoryBudget, ReceiverContext};

/// Forwards the calls of a plugin's context to the host that has the bus.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use poa_core::engine::Refused;
/// use poa_core::telemetry::Telemetry;
/// use poa_core::{AgentId, DataTypes, Draft, HandlerContext, MemoryBudget, Receipt, Relay, Relayed, Sign};
/// # use poa_core::Payload;
///
/// /// Records what a handler does, to test it without a host.
/// #[derive(Default)]
/// struct Recorder(Mutex<Vec<String>>);
///
/// impl Relay for Recorder {
///     fn send(&self, messages: &[Draft]) -> Result<Receipt, Refused> {
///         self.0.lock().unwrap().extend(messages.iter().map(|message| message.agent_id().to_string()));
///         Ok(Receipt::ready(vec![None; messages.len()]))
///     }
///     fn sign_of_life(&self, agent: &AgentId, sign: Sign) {
///         self.0.lock().unwrap().push(format!("{agent}: {sign:?}"));
///     }
///     fn active(&self) -> usize {
///         0
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let recorder = Arc::new(Recorder::default());
/// let cx = HandlerContext::relayed("test", Relayed {
///     relay: recorder.clone(),
///     data_types: DataTypes::new(["readings"])?,
///     authenticator: None,
///     memory: MemoryBudget::new(1 << 20),
///     telemetry: Telemetry::default(),
///     shutdown: Default::default(),
/// });
/// let pump = AgentId::new("pump-7")?;
/// cx.activity().ping(&pump);
/// # let readings = cx.data_types().get("readings").expect("declared above").clone();
/// # let draft = Draft::new(pump, readings, Payload::json(&serde_json::json!({}))?);
/// cx.send_to_receivers(draft)?.await?;
/// assert_eq!(*recorder.0.lock().unwrap(), ["pump-7: Ping", "pump-7"]);
/// # Ok(())
/// # }
/// ```
pub trait Relay: Send + Sync + 'static {
    /// As [`HandlerContext::send_all_to_receivers`]; create the receipt with [`Receipt::pending`].
    ///
    /// # Errors
    /// When the host refuses. The messages were then delivered to no receiver.
    fn send(&self, messages: &[Draft]) -> Result<Receipt, Refused>;

    /// As [`ActivityMonitor::ping`], [`data`](ActivityMonitor::data) or [`bye`](ActivityMonitor::bye).
    fn sign_of_life(&self, agent: &AgentId, sign: Sign);

    /// As [`ActivityMonitor::active`].
    fn active(&self) -> usize;
}

/// A sign of life of an agent.
///
/// See [`Relay`] for an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It is alive.
    Ping,
    /// It sent data.
    Data,
    /// It leaves.
    Bye,
}

/// The parts of a context outside of the host.
///
/// See [`Relay`] for an example.
#[derive(Clone)]
pub struct Relayed {
    /// The connection to the host.
    pub relay: Arc<dyn Relay>,
    /// The data types the host accepts.
    pub data_types: DataTypes,
    /// The authenticator, if the host has one.
    pub authenticator: Option<Arc<dyn Authenticator>>,
    /// The limit on the memory that all request bodies in flight may take.
    pub memory: MemoryBudget,
    /// The registry for the plugin's counters.
    pub telemetry: Telemetry,
    /// Fires when the plugin is to stop.
    pub shutdown: CancellationToken,
}

impl std::fmt::Debug for Relayed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relayed").field("data_types", &self.data_types).finish_non_exhaustive()
    }
}

/// A host that refuses everything.
struct Nowhere;

impl Relay for Nowhere {
    fn send(&self, _: &[Draft]) -> Result<Receipt, Refused> {
        Err(Refused::Stopping)
    }

    fn sign_of_life(&self, _: &AgentId, _: Sign) {}

    fn active(&self) -> usize {
        0
    }
}

impl Services {
    /// Those of a plugin outside of any host.
    pub(crate) fn detached(data_types: DataTypes, telemetry: Telemetry) -> Self {
        let nowhere = Arc::new(Nowhere);
        Self {
            way: Way::There(nowhere.clone()),
            activity: ActivityMonitor::relayed(nowhere),
            authenticator: None,
            data_types,
            memory: MemoryBudget::new(0),
            telemetry,
            observers: Observers::default(),
        }
    }
}

impl Relayed {
    fn into_services(self) -> (CancellationToken, Arc<Services>) {
        let Self { relay, data_types, authenticator, memory, telemetry, shutdown } = self;
        let activity = ActivityMonitor::relayed(relay.clone());
        let way = Way::There(relay);
        let services = Services {
            way,
            activity,
            authenticator,
            data_types,
            memory,
            telemetry,
            observers: Observers::default(),
        };
        (shutdown, Arc::new(services))
    }
}

impl HandlerContext {
    /// The context of a handler of this name that runs outside of the host.
    #[must_use]
    pub fn relayed(name: &str, parts: Relayed) -> Self {
        let (shutdown, services) = parts.into_services();
        Self { name: name.into(), shutdown, services }
    }
}

impl ReceiverContext {
    /// The context of a receiver of this name that runs outside of the host: what
    /// [`Receiver::start`](crate::Receiver::start) gets there. The authenticator and the memory have no use.
    #[must_use]
    pub fn relayed(name: &str, parts: Relayed) -> Self {
        let (shutdown, services) = parts.into_services();
        Self { name: name.into(), shutdown, services }
    }
}
