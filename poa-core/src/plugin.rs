//! The life of a plugin: from a typed configuration, through validation and building, to a running part of a host.

mod context;
mod factory;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::config::Problem;
pub use context::BuildContext;
pub(crate) use factory::factory;
pub use factory::{
    Building, EngineFactory, Factory, HandlerFactory, ReceiverFactory, engine_factory,
    handler_factory, receiver_factory,
};

/// Any error that can be sent across threads.
///
/// ```
/// use poa_core::BoxError;
///
/// fn celsius(text: &str) -> Result<f64, BoxError> {
///     let value: f64 = text.parse()?;
///     if value < -273.15 {
///         return Err("colder than absolute zero".into());
///     }
///     Ok(value)
/// }
///
/// assert_eq!(celsius("-300").unwrap_err().to_string(), "colder than absolute zero");
/// ```
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A handler, receiver or engine that can be built from a configuration, and so be named in a [`Registry`](crate::Registry).
///
/// ```
/// use poa_core::config::Problem;
/// use poa_core::{BuildContext, BuildError, Plugin, async_trait};
///
/// /// The section that operators write.
/// #[derive(Clone, serde::Deserialize, schemars::JsonSchema)]
/// #[serde(deny_unknown_fields)]
/// struct Config {
///     /// The name of the table.
///     table: String,
/// }
///
/// struct Store {
///     table: String,
/// }
///
/// #[async_trait]
/// impl Plugin for Store {
///     type Config = Config;
///
///     fn validate(config: &Config) -> Vec<Problem> {
///         let empty = config.table.is_empty();
///         empty.then(|| Problem::new("table", "is empty; name a table")).into_iter().collect()
///     }
///
///     async fn build(config: Config, _: &BuildContext) -> Result<Self, BuildError> {
///         Ok(Self { table: config.table }) // connect here
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// assert_eq!(Store::validate(&Config { table: String::new() }).len(), 1);
/// let cx = BuildContext::detached("store", std::env::temp_dir());
/// assert_eq!(Store::build(Config { table: "readings".into() }, &cx).await?.table, "readings");
/// # Ok(())
/// # }
/// ```
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

/// The reason why a plugin could not be built.
///
/// ```
/// use poa_core::{BuildError, error_chain};
///
/// fn read_key(path: &str) -> Result<String, BuildError> {
///     std::fs::read_to_string(path).map_err(|error| {
///         BuildError::failed(format!("cannot read {path}; name a readable file in `key`")).with_source(error)
///     })
/// }
///
/// let error = read_key("/no/such/file").unwrap_err();
/// let text = "cannot read /no/such/file; name a readable file in `key`: No such file or directory";
/// assert!(error_chain(&error).starts_with(text));
/// ```
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
///
/// ```
/// use poa_core::{PluginError, error_chain};
///
/// // The end of a handler whose listener broke: the supervisor logs the text, and restarts the handler.
/// let broken = std::io::Error::other("too many open files");
/// let error = PluginError::new("cannot accept connections on 127.0.0.1:4010").with_source(broken);
/// assert_eq!(error_chain(&error), "cannot accept connections on 127.0.0.1:4010: too many open files");
/// ```
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
