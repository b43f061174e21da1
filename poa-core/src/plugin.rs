//! The life of a plugin: from a typed configuration, through validation and building, to a running part of a host.

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::config::Problem;
use crate::engine::{BusSettings, Engine};
use crate::shared::Shared;
use crate::telemetry::Telemetry;
use crate::{CustomHandler, DataTypes, Extensions, Receiver};

/// Any error that can be sent across threads.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A handler, receiver or engine that can be built from a configuration, and so be named in a [`Registry`](crate::Registry).
#[async_trait]
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be registered",
    note = "implement `poa_core::Plugin` with its `Config`, besides `CustomHandler`, `Receiver` or `Engine`"
)]
pub trait Plugin: Sized + Send + 'static {
    /// The section of the configuration that operators write; deny unknown fields and document every one.
    type Config: DeserializeOwned + JsonSchema + Clone + Send + Sync + 'static;

    /// Reports every problem that the types of the configuration do not exclude. Pure: no file, no network.
    fn validate(config: &Self::Config) -> Vec<Problem> {
        let _ = config;
        Vec::new()
    }

    /// Builds the plugin. It may bind, connect and migrate, but must not spawn: a plugin that was built may be dropped without
    /// running.
    ///
    /// Called again when a failed handler or receiver is restarted.
    ///
    /// # Errors
    /// See [`BuildError`].
    async fn build(config: Self::Config, cx: &BuildContext) -> Result<Self, BuildError>;
}

/// The environment of a plugin while it is built.
#[derive(Clone)]
pub struct BuildContext {
    pub(crate) name: Arc<str>,
    pub(crate) data_dir: Arc<Path>,
    pub(crate) data_types: DataTypes,
    pub(crate) resources: Arc<Extensions>,
    pub(crate) shared: Shared,
    pub(crate) bus: Arc<BusSettings>,
    pub(crate) telemetry: Telemetry,
    pub(crate) has_authenticator: bool,
    pub(crate) call_timeout: Option<Duration>,
}

impl BuildContext {
    /// A context outside of any host, for tests and for other kinds of hosts: this name, this data directory, nothing else.
    #[must_use]
    pub fn detached(name: &str, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            data_dir: data_dir.into().into(),
            data_types: DataTypes::default(),
            resources: Arc::default(),
            shared: Shared::default(),
            bus: Arc::default(),
            telemetry: Telemetry::default(),
            has_authenticator: false,
            call_timeout: None,
        }
    }

    /// The same context for a plugin of another name.
    #[must_use]
    pub fn with_name(self, name: &str) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Sets the data types.
    #[must_use]
    pub fn with_data_types(self, data_types: DataTypes) -> Self {
        Self { data_types, ..self }
    }

    /// Sets the requirements of the host on its engine.
    #[must_use]
    pub fn with_bus(self, bus: BusSettings) -> Self {
        Self { bus: Arc::new(bus), ..self }
    }

    /// Sets the telemetry registry.
    #[must_use]
    pub fn with_telemetry(self, telemetry: Telemetry) -> Self {
        Self { telemetry, ..self }
    }

    /// Sets whether the host has an authenticator.
    #[must_use]
    pub fn with_authenticator(self, has_authenticator: bool) -> Self {
        Self { has_authenticator, ..self }
    }

    /// Sets the time limit of the host for a call of a receiver.
    #[must_use]
    pub fn with_call_timeout(self, timeout: Duration) -> Self {
        Self { call_timeout: Some(timeout), ..self }
    }

    /// Adds a resource for plugins that know `T`.
    #[must_use]
    pub fn with_resource<T: std::any::Any + Send + Sync>(self, resource: T) -> Self {
        let mut resources = (*self.resources).clone();
        resources.insert(resource);
        Self { resources: Arc::new(resources), ..self }
    }

    /// The name of the plugin, the `x` of `[receivers.x]`; for an engine its kind.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory for everything the host writes. It exists.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The data types the host accepts.
    #[must_use]
    pub fn data_types(&self) -> &DataTypes {
        &self.data_types
    }

    /// A resource of the embedder or of the registry, for plugins that know `T`.
    #[must_use]
    pub fn resource<T: std::any::Any>(&self) -> Option<&T> {
        self.resources.get()
    }

    /// State that the plugins of one host share, created by the first that asks for it: a connection pool, or an engine that a
    /// handler and a receiver of one crate both use. Each host has its own.
    ///
    /// It lives as long as the host, even while the plugins that use it restart; hold state that must end with its last user as a
    /// [`Weak`](std::sync::Weak) in it.
    #[must_use]
    pub fn shared<T: std::any::Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        self.shared.get(make)
    }

    /// The requirements of the host on its engine.
    #[must_use]
    pub fn bus(&self) -> &BusSettings {
        &self.bus
    }

    /// Whether the host has an authenticator for its handlers.
    #[must_use]
    pub fn has_authenticator(&self) -> bool {
        self.has_authenticator
    }

    /// The time limit of the host for a call of the receiver that is built; a receiver that exceeds it is dropped, and its batch is
    /// delivered again. Unknown for a handler, and outside of a host.
    #[must_use]
    pub fn call_timeout(&self) -> Option<Duration> {
        self.call_timeout
    }

    /// The registry for counters and gauges.
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }
}

impl fmt::Debug for BuildContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuildContext").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The reason why a plugin could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A resource of the plugin is unavailable and may become available: a database that is down.
    ///
    /// A receiver that is not `required` is then retried in the background. The text names the thing and the cure.
    #[error("{0}")]
    Unavailable(String, #[source] Option<BoxError>),
    /// The plugin will not work until the configuration or the environment changes: a port in use, a file unreadable.
    #[error("{0}")]
    Failed(String, #[source] Option<BoxError>),
}

impl BuildError {
    /// A resource of the plugin is unavailable. `message` names the thing, the cause and the cure.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::Unavailable(message.into(), None)
    }

    /// The plugin will not work until the configuration or the environment changes. `message` names the thing, the cause and the
    /// cure.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into(), None)
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(self, source: impl Into<BoxError>) -> Self {
        match self {
            Self::Unavailable(message, _) => Self::Unavailable(message, Some(source.into())),
            Self::Failed(message, _) => Self::Failed(message, Some(source.into())),
        }
    }
}

/// The reason why a running plugin stopped.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct PluginError {
    message: String,
    source: Option<BoxError>,
}

impl PluginError {
    /// An error with a message for the operator.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None }
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }
}

/// A plugin that is being built.
pub type Building<'a, T> = Pin<Box<dyn Future<Output = Result<T, BuildError>> + Send + 'a>>;

/// Builds a plugin of one role, each time it is started.
pub type Factory<T> = Arc<dyn Fn(&BuildContext) -> Building<'_, Box<T>> + Send + Sync>;

/// Builds a handler, each time it is started.
pub type HandlerFactory = Factory<dyn CustomHandler>;

/// Builds a receiver, each time it is started.
pub type ReceiverFactory = Factory<dyn Receiver>;

/// Builds an engine.
pub type EngineFactory = Factory<dyn Engine>;

/// A factory of `P` with this configuration; `erase` converts it to the trait object.
pub(crate) fn factory<P: Plugin, T: ?Sized + 'static>(
    config: P::Config,
    erase: fn(P) -> Box<T>,
) -> Factory<T> {
    Arc::new(move |cx| {
        let config = config.clone();
        Box::pin(async move { Ok(erase(P::build(config, cx).await?)) })
    })
}

/// A factory of a handler with this configuration.
#[must_use]
pub fn handler_factory<P: Plugin + CustomHandler>(config: P::Config) -> HandlerFactory {
    factory(config, |handler: P| Box::new(handler))
}

/// A factory of a receiver with this configuration.
#[must_use]
pub fn receiver_factory<P: Plugin + Receiver>(config: P::Config) -> ReceiverFactory {
    factory(config, |receiver: P| Box::new(receiver))
}

/// A factory of an engine with this configuration.
#[must_use]
pub fn engine_factory<P: Plugin + Engine>(config: P::Config) -> EngineFactory {
    factory(config, |engine: P| Box::new(engine))
}
