//! Functions that build plugins, each time they are started.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::{BuildContext, BuildError, Plugin};
use crate::engine::Engine;
use crate::{CustomHandler, Receiver};

/// A plugin that is being built.
///
/// See [`Factory`] for an example.
pub type Building<'a, T> = Pin<Box<dyn Future<Output = Result<T, BuildError>> + Send + 'a>>;

/// Builds a plugin of one role, each time it is started.
///
/// For a plugin with a [`Config`](Plugin::Config), [`handler_factory`], [`receiver_factory`] and [`engine_factory`] make one. Write one
/// yourself for a plugin that takes a value of your program:
///
/// ```
/// use std::sync::Arc;
/// use poa_core::{BuildContext, Factory, Receiver};
/// # use poa_core::{DeliveryError, Message, async_trait};
/// use tokio::sync::mpsc;
///
/// struct Forward(mpsc::Sender<Message>);
/// # #[async_trait]
/// # impl Receiver for Forward {
/// #     async fn metrics_received(&mut self, _: &[Message]) -> Result<(), DeliveryError> { Ok(()) }
/// # }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (messages, _rest_of_the_program) = mpsc::channel(100);
/// let factory: Factory<dyn Receiver> = Arc::new(move |_| {
///     // Called for every restart, so each instance gets a clone.
///     let receiver = Forward(messages.clone());
///     Box::pin(async { Ok(Box::new(receiver) as Box<dyn Receiver>) })
/// });
///
/// let cx = BuildContext::detached("forward", std::env::temp_dir());
/// let receiver = factory(&cx).await?;
/// # drop(receiver);
/// # Ok(())
/// # }
/// ```
pub type Factory<T> = Arc<dyn Fn(&BuildContext) -> Building<'_, Box<T>> + Send + Sync>;

/// Builds a handler, each time it is started.
///
/// See [`handler_factory`] for an example.
pub type HandlerFactory = Factory<dyn CustomHandler>;

/// Builds a receiver, each time it is started.
///
/// See [`receiver_factory`] for an example.
pub type ReceiverFactory = Factory<dyn Receiver>;

/// Builds an engine.
///
/// See [`engine_factory`] for an example.
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
///
/// ```
/// use poa_core::{HandlerFactory, Host, handler_factory};
/// # use poa_core::{BuildContext, BuildError, CustomHandler, HandlerContext, Plugin, PluginError, async_trait};
/// # struct Lines;
/// # #[async_trait]
/// # impl Plugin for Lines {
/// #     type Config = u16;
/// #     async fn build(_: u16, _: &BuildContext) -> Result<Self, BuildError> { Ok(Self) }
/// # }
/// # #[async_trait]
/// # impl CustomHandler for Lines {
/// #     async fn run(&mut self, _: HandlerContext) -> Result<(), PluginError> { Ok(()) }
/// # }
///
/// // Handlers of different types in one list, one for each port.
/// let handlers: Vec<(&str, HandlerFactory)> =
///     vec![("lines", handler_factory::<Lines>(4010)), ("more_lines", handler_factory::<Lines>(4011))];
/// let builder = handlers
///     .into_iter()
///     .fold(Host::builder(), |host, (name, factory)| host.handler_from(name, factory));
/// # drop(builder);
/// ```
#[must_use]
pub fn handler_factory<P: Plugin + CustomHandler>(config: P::Config) -> HandlerFactory {
    factory(config, |handler: P| Box::new(handler))
}

/// A factory of a receiver with this configuration.
///
/// ```
/// use poa_core::{ReceiverFactory, receiver_factory, receiver_fn};
/// # use poa_core::{BuildContext, BuildError, DeliveryError, Message, Plugin, Receiver, async_trait};
/// # struct Store;
/// # #[async_trait]
/// # impl Plugin for Store {
/// #     type Config = String;
/// #     async fn build(_: String, _: &BuildContext) -> Result<Self, BuildError> { Ok(Self) }
/// # }
/// # #[async_trait]
/// # impl Receiver for Store {
/// #     async fn metrics_received(&mut self, _: &[Message]) -> Result<(), DeliveryError> { Ok(()) }
/// # }
///
/// /// The receiver of a host: a store, or for a trial run one that only counts.
/// fn store(url: Option<String>) -> ReceiverFactory {
///     match url {
///         Some(url) => receiver_factory::<Store>(url),
///         None => receiver_fn(|batch| async move {
///             println!("{} messages", batch.len());
///             Ok(())
///         }),
///     }
/// }
/// # store(None);
/// # store(Some("store.db".into()));
/// ```
#[must_use]
pub fn receiver_factory<P: Plugin + Receiver>(config: P::Config) -> ReceiverFactory {
    factory(config, |receiver: P| Box::new(receiver))
}

/// A factory of an engine with this configuration.
///
/// ```
/// use poa_core::{EngineFactory, Host, engine_factory};
/// use poa_engine_local::{Log, Memory};
///
/// /// The engine of a host, chosen when the program starts.
/// fn engine(durable: bool) -> EngineFactory {
///     match durable {
///         true => engine_factory::<Log>(Default::default()),
///         false => engine_factory::<Memory>(Default::default()),
///     }
/// }
/// let builder = Host::builder().engine_from("log", engine(true));
/// # drop(builder);
/// # engine(false);
/// ```
#[must_use]
pub fn engine_factory<P: Plugin + Engine>(config: P::Config) -> EngineFactory {
    factory(config, |engine: P| Box::new(engine))
}
