//! How plugins come to life: from a typed configuration, through validation and building, to a running thing.

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::config::Problem;
use crate::telemetry::Telemetry;
use crate::{CustomHandler, DataTypes, Extensions, Receiver};

/// Any error that can cross threads.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A handler that can be built from a configuration, and so be named in a registry.
#[async_trait]
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be registered as a handler",
    note = "implement `poa_core::CustomHandler`, then `poa_core::HandlerPlugin` with its `Config`"
)]
pub trait HandlerPlugin: CustomHandler + Sized {
    /// What an operator writes in this plugin's section; deny unknown fields and document every one.
    type Config: DeserializeOwned + JsonSchema + Clone + Send + Sync + 'static;

    /// Every problem in a configuration that its types let pass. Pure: no file, no network.
    fn validate(config: &Self::Config) -> Vec<Problem> {
        let _ = config;
        Vec::new()
    }

    /// Makes the handler. It may bind and connect, but must not spawn: what was built may be dropped and never run.
    ///
    /// Called again when a failed handler is restarted.
    ///
    /// # Errors
    /// See [`BuildError`].
    async fn build(config: Self::Config, cx: &BuildContext) -> Result<Self, BuildError>;
}

/// A receiver that can be built from a configuration, and so be named in a registry.
#[async_trait]
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be registered as a receiver",
    note = "implement `poa_core::Receiver`, then `poa_core::ReceiverPlugin` with its `Config`"
)]
pub trait ReceiverPlugin: Receiver + Sized {
    /// What an operator writes in this plugin's section, besides the keys common to all receivers.
    type Config: DeserializeOwned + JsonSchema + Clone + Send + Sync + 'static;

    /// Every problem in a configuration that its types let pass. Pure: no file, no network.
    fn validate(config: &Self::Config) -> Vec<Problem> {
        let _ = config;
        Vec::new()
    }

    /// Makes the receiver. It may connect and migrate, but must not spawn: what was built may be dropped and never run.
    ///
    /// Called again when a failed receiver is restarted.
    ///
    /// # Errors
    /// See [`BuildError`].
    async fn build(config: Self::Config, cx: &BuildContext) -> Result<Self, BuildError>;
}

/// What a plugin may know while it is built.
#[derive(Clone)]
pub struct BuildContext {
    pub(crate) name: Arc<str>,
    pub(crate) data_dir: Arc<Path>,
    pub(crate) data_types: DataTypes,
    pub(crate) resources: Arc<Extensions>,
    pub(crate) telemetry: Telemetry,
    pub(crate) has_authenticator: bool,
    pub(crate) call_timeout: Option<std::time::Duration>,
}

impl BuildContext {
    /// A context outside of any host, for tests and for hosts of other kinds: this name, this data directory, nothing else.
    #[must_use]
    pub fn detached(name: &str, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            data_dir: data_dir.into().into(),
            data_types: DataTypes::default(),
            resources: Arc::default(),
            telemetry: Telemetry::default(),
            has_authenticator: false,
            call_timeout: None,
        }
    }

    /// The same context with these data types.
    #[must_use]
    pub fn with_data_types(self, data_types: DataTypes) -> Self {
        Self { data_types, ..self }
    }

    /// The same context, which counts here.
    #[must_use]
    pub fn with_telemetry(self, telemetry: Telemetry) -> Self {
        Self { telemetry, ..self }
    }

    /// The same context, whose host does or does not have somebody who decides who may speak.
    #[must_use]
    pub fn with_authenticator(self, has_authenticator: bool) -> Self {
        Self { has_authenticator, ..self }
    }

    /// The same context, whose host gives each call of a receiver this long.
    #[must_use]
    pub fn with_call_timeout(self, timeout: std::time::Duration) -> Self {
        Self { call_timeout: Some(timeout), ..self }
    }

    /// The same context, whose host offers this to plugins that know `T`.
    #[must_use]
    pub fn with_resource<T: std::any::Any + Send + Sync>(self, resource: T) -> Self {
        let mut resources = (*self.resources).clone();
        resources.insert(resource);
        Self { resources: Arc::new(resources), ..self }
    }

    /// The name of the plugin, the `x` of `[receivers.x]`.
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

    /// Something the embedder offers to plugins that know `T`.
    #[must_use]
    pub fn resource<T: std::any::Any>(&self) -> Option<&T> {
        self.resources.get()
    }

    /// Whether handlers of the host will find somebody who decides who may speak.
    #[must_use]
    pub fn has_authenticator(&self) -> bool {
        self.has_authenticator
    }

    /// How long the host waits for a call of the receiver that is built; a receiver that needs longer is dropped, and its batch
    /// begins anew. Unknown for a handler, and outside of a host.
    #[must_use]
    pub fn call_timeout(&self) -> Option<std::time::Duration> {
        self.call_timeout
    }

    /// Where to register counters and gauges.
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

/// Why a plugin could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// What the plugin needs is not there now, and may be there later: a database that is down.
    ///
    /// A receiver that is not `required` is then retried in the background. The text names the thing and the cure.
    #[error("{0}")]
    Unavailable(String, #[source] Option<BoxError>),
    /// It will not work until somebody changes something: a port taken, a file unreadable.
    #[error("{0}")]
    Failed(String, #[source] Option<BoxError>),
}

impl BuildError {
    /// What the plugin needs is not there now. `message` names the thing, the cause and the cure.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::Unavailable(message.into(), None)
    }

    /// It will not work until somebody changes something. `message` names the thing, the cause and the cure.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into(), None)
    }

    /// The same error with what caused it.
    #[must_use]
    pub fn because(self, source: impl Into<BoxError>) -> Self {
        match self {
            Self::Unavailable(message, _) => Self::Unavailable(message, Some(source.into())),
            Self::Failed(message, _) => Self::Failed(message, Some(source.into())),
        }
    }
}

/// Why a running plugin stopped.
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

    /// The same error with what caused it.
    #[must_use]
    pub fn because(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }
}

type Building<'a, T> = Pin<Box<dyn Future<Output = Result<T, BuildError>> + Send + 'a>>;

/// Makes a handler, as often as it has to be started.
pub type HandlerFactory =
    Arc<dyn Fn(&BuildContext) -> Building<'_, Box<dyn CustomHandler>> + Send + Sync>;

/// Makes a receiver, as often as it has to be started.
pub type ReceiverFactory =
    Arc<dyn Fn(&BuildContext) -> Building<'_, Box<dyn Receiver>> + Send + Sync>;

/// A factory of `P` with this configuration.
pub(crate) fn handler_factory<P: HandlerPlugin>(config: P::Config) -> HandlerFactory {
    Arc::new(move |cx| {
        let config = config.clone();
        Box::pin(async move { Ok(Box::new(P::build(config, cx).await?) as Box<dyn CustomHandler>) })
    })
}

/// A factory of `P` with this configuration.
pub(crate) fn receiver_factory<P: ReceiverPlugin>(config: P::Config) -> ReceiverFactory {
    Arc::new(move |cx| {
        let config = config.clone();
        Box::pin(async move { Ok(Box::new(P::build(config, cx).await?) as Box<dyn Receiver>) })
    })
}
