//! Builds and starts a host from its description.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::stop::Limits;
use super::{Ack, Host, ReceiverOptions, start};
use crate::Rates;
use crate::auth::Authenticator;
use crate::engine::{Acks, BusCounts, BusSettings, Engine, KeyWindow, SharedStore, Unrouted};
use crate::observer::Observers;
use crate::plugin::{engine_factory, handler_factory, receiver_factory};
use crate::shared::Shared;
use crate::telemetry::Telemetry;
use crate::{
    BoxError, BuildContext, CustomHandler, DataTypes, DeadLetters, EngineFactory, Extensions,
    HandlerFactory, Observer, Plugin, Receiver, ReceiverFactory, StartError,
};

/// Describes a host. Nothing is built before [`start`](Self::start).
///
/// ```
/// use poa_core::{Host, ReceiverOptions, StartError, receiver_fn};
/// use poa_engine_local::Memory;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let data = dir.path();
/// let options = ReceiverOptions::subscribe(["reading"]);
/// let started = Host::builder()
///     .data_dir(data)
///     .data_types(["readings"])
///     .engine::<Memory>("memory", Default::default())
///     .receiver_from("ignore", options, receiver_fn(|_| async { Ok(()) }))
///     .start()
///     .await;
///
/// // A host that would never deliver does not start.
/// let error = started.unwrap_err();
/// assert!(matches!(&error, StartError::UnknownDataType { data_type, .. } if data_type == "reading"));
/// # Ok(())
/// # }
/// ```
#[must_use = "a host is started with `start`"]
pub struct HostBuilder {
    pub(super) data_types: Vec<String>,
    pub(super) data_dir: PathBuf,
    pub(super) engine: Option<(Arc<str>, EngineFactory)>,
    pub(super) ack: Ack,
    ack_for: BTreeMap<String, Ack>,
    delivered_within: Duration,
    idempotency: KeyWindow,
    pub(super) rates: Rates,
    unrouted: Unrouted,
    pub(super) memory: u64,
    pub(super) inactive_after: Duration,
    pub(super) limits: Limits,
    pub(super) start_timeout: Duration,
    resources: Extensions,
    pub(super) authenticator: Option<Arc<dyn Authenticator>>,
    pub(super) dead_letters: Option<Arc<dyn DeadLetters>>,
    pub(super) telemetry: Telemetry,
    pub(super) observers: Observers,
    pub(super) handlers: Vec<(String, HandlerFactory)>,
    pub(super) receivers: Vec<(String, ReceiverOptions, ReceiverFactory)>,
    prepare: Option<Prepare>,
}

/// Work between building the engine and building everything else.
type Prepare = Box<
    dyn FnOnce(
            Option<Arc<dyn SharedStore>>,
        ) -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>
        + Send,
>;

impl Default for HostBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl HostBuilder {
    /// A host without plugins that keeps its data in `poa-data`. It needs an [engine](Self::engine).
    ///
    /// Unlike the bundled server it acknowledges from memory and keeps no dead letters, unless [`ack`](Self::ack) and
    /// [`dead_letters`](Self::dead_letters) are set.
    pub fn new() -> Self {
        Self {
            data_types: Vec::new(),
            data_dir: "poa-data".into(),
            engine: None,
            ack: Ack::Memory,
            ack_for: BTreeMap::new(),
            delivered_within: Duration::from_secs(30),
            idempotency: KeyWindow::default(),
            rates: Rates::default(),
            unrouted: Unrouted::default(),
            memory: 256 << 20,
            inactive_after: Duration::from_secs(7),
            limits: Limits { handlers: Duration::from_secs(10), drain: Duration::from_secs(20) },
            start_timeout: Duration::from_secs(15),
            resources: Extensions::new(),
            authenticator: None,
            dead_letters: None,
            telemetry: Telemetry::default(),
            observers: Observers::default(),
            handlers: Vec::new(),
            receivers: Vec::new(),
            prepare: None,
        }
    }

    /// Sets the name of the host. Its metrics then carry the label `host`, which distinguishes several hosts in one process.
    pub fn name(mut self, name: &str) -> Self {
        self.telemetry = Telemetry::of_host(name);
        self
    }

    /// Continues the metrics of a host that has stopped, and its name: counters and histograms continue from where they were.
    pub fn continuing(mut self, telemetry: &Telemetry) -> Self {
        self.telemetry = telemetry.clone();
        self
    }

    /// Sets the data types that the host accepts.
    pub fn data_types<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.data_types.extend(names.into_iter().map(Into::into));
        self
    }

    /// Sets the directory for everything the host writes; created if missing, with mode 0700. Default: `poa-data`.
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_dir = path.into();
        self
    }

    /// Sets the engine, and its name in `/status`. Every host has one.
    pub fn engine<P: Plugin + Engine>(self, kind: &str, config: P::Config) -> Self {
        self.engine_from(kind, engine_factory::<P>(config))
    }

    /// Sets the engine to the one that this factory builds.
    pub fn engine_from(mut self, kind: &str, factory: EngineFactory) -> Self {
        self.engine = Some((kind.into(), factory));
        self
    }

    /// Sets the level at which messages are acknowledged. Default: [`Ack::Memory`].
    pub fn ack(mut self, ack: Ack) -> Self {
        self.ack = ack;
        self
    }

    /// Sets the level for messages of one data type, overriding [`ack`](Self::ack).
    pub fn ack_for(mut self, data_type: &str, ack: Ack) -> Self {
        self.ack_for.insert(data_type.to_owned(), ack);
        self
    }

    /// Sets how long an acknowledgement may wait for the receivers with [`Ack::Delivered`]. Default: 30 s.
    pub fn delivered_within(mut self, timeout: Duration) -> Self {
        self.delivered_within = timeout;
        self
    }

    /// Limits the rate at which one agent, user or address may send. Default: no limit.
    pub fn rates(mut self, rates: Rates) -> Self {
        self.rates = rates;
        self
    }

    /// Sets the deduplication window; see [`KeyWindow`] for the default.
    pub fn idempotency(mut self, window: KeyWindow) -> Self {
        self.idempotency = window;
        self
    }

    /// Sets the treatment of messages of types that no receiver subscribes to. Default: they are refused.
    pub fn unrouted(mut self, unrouted: Unrouted) -> Self {
        self.unrouted = unrouted;
        self
    }

    /// Limits the memory, in bytes, that all request bodies may take together. Default: 256 MiB.
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory = bytes;
        self
    }

    /// Sets how long an agent may be silent before it is inactive. Default: 7 s.
    pub fn inactive_after(mut self, timeout: Duration) -> Self {
        self.inactive_after = timeout;
        self
    }

    /// Limits how long handlers may take to stop (default: 10 s), and receivers to drain their backlogs (default: 20 s).
    pub fn stop_timeouts(mut self, handlers: Duration, drain: Duration) -> Self {
        self.limits = Limits { handlers, drain };
        self
    }

    /// Limits how long a plugin may take to be built. Default: 15 s.
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = timeout;
        self
    }

    /// Sets the authenticator that handlers use.
    pub fn authenticator(mut self, authenticator: Arc<dyn Authenticator>) -> Self {
        self.authenticator = Some(authenticator);
        self
    }

    /// Sets the store for messages that cannot be delivered. Without one they are logged and lost.
    pub fn dead_letters(mut self, store: Arc<dyn DeadLetters>) -> Self {
        self.dead_letters = Some(store);
        self
    }

    /// Adds an observer, which sees messages as they are acknowledged and delivered.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers = self.observers.with(observer);
        self
    }

    /// Adds a resource for the plugins that know `T`; see [`BuildContext::resource`].
    pub fn resource<T: std::any::Any + Send + Sync>(mut self, resource: T) -> Self {
        self.resources.insert(resource);
        self
    }

    /// Adds resources for the plugins that know their types: those of a [`Registry`](crate::Registry).
    pub fn resources(mut self, resources: &Extensions) -> Self {
        self.resources.extend(resources);
        self
    }

    /// Adds a handler.
    pub fn handler<P: Plugin + CustomHandler>(self, name: &str, config: P::Config) -> Self {
        self.handler_from(name, handler_factory::<P>(config))
    }

    /// Adds a handler built by this factory.
    pub fn handler_from(mut self, name: &str, factory: HandlerFactory) -> Self {
        self.handlers.push((name.to_owned(), factory));
        self
    }

    /// Adds a receiver.
    pub fn receiver<P: Plugin + Receiver>(
        self,
        name: &str,
        options: ReceiverOptions,
        config: P::Config,
    ) -> Self {
        self.receiver_from(name, options, receiver_factory::<P>(config))
    }

    /// Adds a receiver built by this factory.
    pub fn receiver_from(
        mut self,
        name: &str,
        options: ReceiverOptions,
        factory: ReceiverFactory,
    ) -> Self {
        self.receivers.push((name.to_owned(), options, factory));
        self
    }

    /// Sets work to do once the engine is built and before everything else is, with the store that all its nodes share, if it spans machines.
    /// If it fails, so does the start.
    pub fn prepare<F>(
        mut self,
        work: impl FnOnce(Option<Arc<dyn SharedStore>>) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        self.prepare = Some(Box::new(|store| Box::pin(work(store))));
        self
    }

    /// Builds every plugin, then runs them all on the current runtime. When this returns, every handler is listening.
    ///
    /// Cancel safe: when dropped, nothing was spawned.
    ///
    /// # Errors
    /// See [`StartError`]. On an error nothing runs.
    pub async fn start(mut self) -> Result<Host, StartError> {
        start::check_names(&self)?;
        let data_types = DataTypes::new(&self.data_types)?;
        let settings = self.bus_settings(&data_types)?;
        start::make_data_dir(&self.data_dir)?;
        // That of the host whose metrics this one continues, if any.
        self.telemetry.forget_state();
        let build = BuildContext {
            name: "".into(),
            data_dir: std::mem::take(&mut self.data_dir).into(),
            data_types,
            resources: Arc::new(std::mem::take(&mut self.resources)),
            shared: Shared::default(),
            bus: Arc::new(settings),
            telemetry: self.telemetry.clone(),
            has_authenticator: self.authenticator.is_some(),
            call_timeout: None,
        };
        let engine = self.build_engine(&build).await?;
        if let Some(prepare) = self.prepare.take() {
            prepare(engine.shared_store()).await.map_err(StartError::Prepare)?;
        }
        let built = start::build_plugins(&mut self, &build).await?;
        self.run(build, engine, built).await
    }

    fn bus_settings(&self, types: &DataTypes) -> Result<BusSettings, StartError> {
        if let Some(unknown) = self.ack_for.keys().find(|name| types.get(name).is_none()) {
            return Err(StartError::UnknownDataTypeInAck(unknown.clone()));
        }
        let ack = |data_type: &crate::DataType| {
            self.ack_for.get(data_type.name()).copied().unwrap_or(self.ack)
        };
        Ok(BusSettings {
            acks: Acks::new(types, ack, self.delivered_within),
            unrouted: self.unrouted,
            keys: self.idempotency,
            counts: BusCounts::new(&self.telemetry),
        })
    }

    async fn build_engine(&mut self, cx: &BuildContext) -> Result<Arc<dyn Engine>, StartError> {
        let Some((kind, factory)) = &self.engine else { return Err(StartError::NoEngine) };
        let cx = cx.clone().with_name(kind);
        let engine = start::build_within(self.start_timeout, &cx, factory)
            .await
            .map_err(|failure| failure.of(format!("bus.{kind}")))?;
        let capabilities = engine.capabilities();
        let promised = |ack: &Ack| cx.bus.acks.contains(*ack) && !capabilities.can_promise(*ack);
        match [Ack::Memory, Ack::Stored].iter().find(|ack| promised(ack)) {
            Some(ack) => Err(StartError::AckNotPossible { engine: kind.clone(), ack: ack.name() }),
            None => Ok(engine.into()),
        }
    }
}

impl fmt::Debug for HostBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handlers: Vec<_> = self.handlers.iter().map(|(name, _)| name).collect();
        let receivers: Vec<_> = self.receivers.iter().map(|(name, ..)| name).collect();
        f.debug_struct("HostBuilder")
            .field("data_types", &self.data_types)
            .field("engine", &self.engine.as_ref().map(|(kind, _)| kind))
            .field("handlers", &handlers)
            .field("receivers", &receivers)
            .finish_non_exhaustive()
    }
}
