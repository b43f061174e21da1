//! From a description to a running host.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::start;
use super::stop::Limits;
use super::{Ack, Engine, Host, ReceiverOptions};
use crate::auth::Authenticator;
use crate::bus::{KeyWindow, LogOpenError, OpenLog};
use crate::plugin::{handler_factory, receiver_factory};
use crate::telemetry::Telemetry;
use crate::{
    BoxError, BuildContext, DataTypes, DeadLetters, Extensions, HandlerFactory, HandlerPlugin,
    InvalidDataType, ReceiverFactory, ReceiverPlugin,
};

/// Describes a host. Nothing happens before [`start`](Self::start).
#[must_use = "a host is started with `start`"]
pub struct HostBuilder {
    metrics: Vec<String>,
    data_dir: PathBuf,
    pub(super) engine: Engine,
    pub(super) ack: Ack,
    pub(super) ack_for: BTreeMap<String, Ack>,
    pub(super) delivered_within: Duration,
    pub(super) idempotency: KeyWindow,
    log: poa_log::Options,
    pub(super) memory: u64,
    pub(super) inactive_after: Duration,
    pub(super) limits: Limits,
    pub(super) start_timeout: Duration,
    resources: Extensions,
    pub(super) authenticator: Option<Arc<dyn Authenticator>>,
    pub(super) dead_letters: Option<Arc<dyn DeadLetters>>,
    pub(super) telemetry: Telemetry,
    pub(super) handlers: Vec<(String, HandlerFactory)>,
    pub(super) receivers: Vec<(String, ReceiverOptions, ReceiverFactory)>,
}

/// Why a host did not start. Whatever had been built is gone again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The list of data types is not valid.
    #[error("metrics")]
    DataTypes(#[from] InvalidDataType),
    /// Two plugins of the same role have the same name.
    #[error("{0}: there are two of this name; rename one")]
    DuplicateName(String),
    /// A receiver subscribes to a data type that the host does not accept.
    #[error(
        "receivers.{receiver}: `{data_type}` is not among the host's metrics; declare it there"
    )]
    UnknownDataType {
        /// The receiver.
        receiver: String,
        /// What it subscribes to.
        data_type: String,
    },
    /// An ack is set for a data type that the host does not accept.
    #[error("an ack is set for `{0}`, which is not among the host's metrics; declare it there")]
    UnknownDataTypeInAck(String),
    /// This engine cannot give the promise that `ack` makes.
    #[error(
        "ack = \"stored\" needs a log on disk, and this host's bus is in memory; use `memory` or `delivered`"
    )]
    AckNotPossible,
    /// The log cannot be opened.
    #[error("bus")]
    Log(#[from] LogOpenError),
    /// The thread that writes the log cannot be started, or not write where receivers begin.
    #[error("bus: cannot begin to write the log")]
    Commit(#[source] std::io::Error),
    /// The data directory cannot be made.
    #[error("cannot create the data directory {path}; is its parent writable?")]
    DataDir {
        /// The directory.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A plugin could not be built.
    #[error("{plugin}")]
    Plugin {
        /// Its role and name: `receivers.store`.
        plugin: String,
        /// Why.
        #[source]
        source: BoxError,
    },
}

impl Default for HostBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl HostBuilder {
    /// A host without plugins that keeps its data in `poa-data`.
    pub fn new() -> Self {
        Self {
            metrics: Vec::new(),
            data_dir: "poa-data".into(),
            engine: Engine::Memory,
            ack: Ack::Memory,
            ack_for: BTreeMap::new(),
            delivered_within: Duration::from_secs(30),
            idempotency: KeyWindow::default(),
            log: poa_log::Options::default(),
            memory: 256 << 20,
            inactive_after: Duration::from_secs(7),
            limits: Limits { handlers: Duration::from_secs(10), drain: Duration::from_secs(20) },
            start_timeout: Duration::from_secs(15),
            resources: Extensions::new(),
            authenticator: None,
            dead_letters: None,
            telemetry: Telemetry::default(),
            handlers: Vec::new(),
            receivers: Vec::new(),
        }
    }

    /// The data types the host accepts.
    pub fn metrics<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.metrics.extend(names.into_iter().map(Into::into));
        self
    }

    /// The directory for everything the host writes; created if missing, with mode 0700. `poa-data` if not set.
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_dir = path.into();
        self
    }

    /// Where messages wait for their receivers; [`Engine::Memory`] if not set.
    pub fn engine(mut self, engine: Engine) -> Self {
        self.engine = engine;
        self
    }

    /// What a positive answer to an agent means; [`Ack::Memory`] if not set.
    pub fn ack(mut self, ack: Ack) -> Self {
        self.ack = ack;
        self
    }

    /// What a positive answer means for messages of one data type, in place of what [`ack`](Self::ack) says.
    pub fn ack_for(mut self, data_type: &str, ack: Ack) -> Self {
        self.ack_for.insert(data_type.to_owned(), ack);
        self
    }

    /// How long an answer may wait for the receivers when the ack is [`Ack::Delivered`]; 30 s if not set.
    pub fn delivered_within(mut self, timeout: Duration) -> Self {
        self.delivered_within = timeout;
        self
    }

    /// How long it is remembered which messages were taken, by their idempotency keys; see [`KeyWindow`] for what holds if not set.
    pub fn idempotency(mut self, window: KeyWindow) -> Self {
        self.idempotency = window;
        self
    }

    /// The size of the files of the log, in bytes; 64 MiB if not set. Space is given back a file at a time.
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.log = self.log.segment_bytes(bytes);
        self
    }

    /// The bound on the memory, in bytes, that all bodies in hand may take; 256 MiB if not set.
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory = bytes;
        self
    }

    /// How long an agent may be silent; 7 s if not set.
    pub fn inactive_after(mut self, timeout: Duration) -> Self {
        self.inactive_after = timeout;
        self
    }

    /// How long handlers may take to stop (10 s if not set), and receivers to get what is queued (20 s).
    pub fn stop_timeouts(mut self, handlers: Duration, drain: Duration) -> Self {
        self.limits = Limits { handlers, drain };
        self
    }

    /// How long a plugin may take to be built; 15 s if not set.
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = timeout;
        self
    }

    /// Who decides who may speak.
    pub fn authenticator(mut self, authenticator: Arc<dyn Authenticator>) -> Self {
        self.authenticator = Some(authenticator);
        self
    }

    /// Who keeps the messages that can never be delivered. If not set, they are reported in the log and gone.
    pub fn dead_letters(mut self, store: Arc<dyn DeadLetters>) -> Self {
        self.dead_letters = Some(store);
        self
    }

    /// Something for the plugins that know `T`; see [`BuildContext::resource`].
    pub fn resource<T: std::any::Any + Send + Sync>(mut self, resource: T) -> Self {
        self.resources.insert(resource);
        self
    }

    /// Adds a handler.
    pub fn handler<P: HandlerPlugin>(self, name: &str, config: P::Config) -> Self {
        self.handler_from(name, handler_factory::<P>(config))
    }

    /// Adds a handler made by this factory.
    pub fn handler_from(mut self, name: &str, factory: HandlerFactory) -> Self {
        self.handlers.push((name.to_owned(), factory));
        self
    }

    /// Adds a receiver.
    pub fn receiver<P: ReceiverPlugin>(
        self,
        name: &str,
        options: ReceiverOptions,
        config: P::Config,
    ) -> Self {
        self.receiver_from(name, options, receiver_factory::<P>(config))
    }

    /// Adds a receiver made by this factory.
    pub fn receiver_from(
        mut self,
        name: &str,
        options: ReceiverOptions,
        factory: ReceiverFactory,
    ) -> Self {
        self.receivers.push((name.to_owned(), options, factory));
        self
    }

    /// Builds every plugin, then runs them all on the current runtime. When this returns, every handler listens.
    ///
    /// Cancel safe: when dropped, nothing was spawned.
    ///
    /// # Errors
    /// See [`StartError`]. Nothing runs then.
    pub async fn start(mut self) -> Result<Host, StartError> {
        start::check_names(&self)?;
        let data_types = DataTypes::new(&self.metrics)?;
        self.check_acks(&data_types)?;
        start::make_data_dir(&self.data_dir)?;
        let log = self.open_log(&data_types)?;
        let build = BuildContext {
            name: "".into(),
            data_dir: std::mem::take(&mut self.data_dir).into(),
            data_types,
            resources: Arc::new(std::mem::take(&mut self.resources)),
            telemetry: self.telemetry.clone(),
            has_authenticator: self.authenticator.is_some(),
            call_timeout: None,
        };
        let built = start::build_plugins(&mut self, &build).await?;
        self.run(build, built, log)
    }

    /// Refuses promises that cannot be kept.
    fn check_acks(&self, types: &DataTypes) -> Result<(), StartError> {
        if let Some(unknown) = self.ack_for.keys().find(|name| types.get(name).is_none()) {
            return Err(StartError::UnknownDataTypeInAck(unknown.clone()));
        }
        let stored = self.acks(types).by_type.contains(&Ack::Stored);
        if stored && self.engine == Engine::Memory {
            Err(StartError::AckNotPossible)
        } else {
            Ok(())
        }
    }

    fn open_log(&self, types: &DataTypes) -> Result<Option<OpenLog>, StartError> {
        match self.engine {
            Engine::Memory => Ok(None),
            Engine::Log => {
                let log = OpenLog::open(&self.data_dir.join("log"), types.clone(), self.log)?;
                let receivers: Vec<_> = self.receivers.iter().map(|(name, ..)| &**name).collect();
                log.warn_of_removed(&receivers);
                Ok(Some(log))
            }
        }
    }
}

impl fmt::Debug for HostBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handlers: Vec<_> = self.handlers.iter().map(|(name, _)| name).collect();
        let receivers: Vec<_> = self.receivers.iter().map(|(name, ..)| name).collect();
        f.debug_struct("HostBuilder")
            .field("metrics", &self.metrics)
            .field("handlers", &handlers)
            .field("receivers", &receivers)
            .finish_non_exhaustive()
    }
}
