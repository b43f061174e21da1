//! The kinds of plugins that a host knows.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::config::Problem;
use crate::engine::Engine;
use crate::plugin::{Factory, Plugin, factory};
use crate::{CustomHandler, Extensions, Receiver};

/// A kind of plugin: the name in `kind = "…"` (for engines `engine = "…"`) in the configuration. `T` is the role: `dyn
/// CustomHandler`, `dyn Receiver` or `dyn Engine`.
///
/// ```
/// use poa_core::Registry;
/// use poa_engine_local::Memory;
/// use serde_json::json;
///
/// let registry = Registry::new().engine::<Memory>("memory");
/// let kind = &registry.engines()["memory"];
/// // A configuration is checked without building anything, and an editor can use the schema.
/// let problems = kind.configure(json!({"size": "1GiB"})).err().expect("the section has no keys");
/// assert!(problems[0].message.contains("unknown field `size`"));
/// assert_eq!(kind.schema()["additionalProperties"], false);
/// ```
pub trait Kind<T: ?Sized>: Send + Sync {
    /// The JSON Schema of the section, without `kind` and without the keys common to all sections of the role.
    fn schema(&self) -> Value;

    /// A factory for this configuration. Pure.
    ///
    /// # Errors
    /// Every problem that can be found without building.
    fn configure(&self, config: Value) -> Result<Factory<T>, Vec<Problem>>;
}

/// A kind of handler.
///
/// See [`Kind`] for an example.
pub type HandlerKind = dyn Kind<dyn CustomHandler>;

/// A kind of receiver.
///
/// See [`Kind`] for an example.
pub type ReceiverKind = dyn Kind<dyn Receiver>;

/// A kind of engine.
///
/// See [`Kind`] for an example.
pub type EngineKind = dyn Kind<dyn Engine>;

/// The kinds of one role, by name.
///
/// See [`Registry`] for an example.
pub type Kinds<T> = BTreeMap<String, Arc<dyn Kind<T>>>;

/// The kinds of handlers, receivers and engines that a host can build, by name, and the resources they need.
///
/// ```
/// use poa_core::Registry;
/// use poa_engine_local::{Log, Memory};
///
/// // A server lists the kinds that its configuration can name.
/// let registry = Registry::new().engine::<Log>("log").engine::<Memory>("memory");
/// assert!(registry.engines().keys().eq(["log", "memory"]));
///
/// // The first of a name stays, and the conflict is reported.
/// let registry = registry.engine::<Memory>("log");
/// assert!(registry.duplicates()[0].to_string().starts_with("engine kind `log` is registered twice"));
/// ```
#[derive(Clone, Default)]
pub struct Registry {
    handlers: Kinds<dyn CustomHandler>,
    receivers: Kinds<dyn Receiver>,
    engines: Kinds<dyn Engine>,
    resources: Extensions,
    duplicates: Vec<DuplicateKind>,
}

/// A kind was registered twice.
///
/// See [`Registry`] for an example.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{role} kind `{kind}` is registered twice; give one of them another name")]
pub struct DuplicateKind {
    /// `handler`, `receiver` or `engine`.
    pub role: &'static str,
    /// The name.
    pub kind: String,
}

impl Registry {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a handler compiled in.
    #[must_use]
    pub fn handler<P: Plugin + CustomHandler>(self, kind: &str) -> Self {
        self.handler_kind(kind, typed::<P, dyn CustomHandler>(|plugin| Box::new(plugin)))
    }

    /// Adds a receiver compiled in.
    #[must_use]
    pub fn receiver<P: Plugin + Receiver>(self, kind: &str) -> Self {
        self.receiver_kind(kind, typed::<P, dyn Receiver>(|plugin| Box::new(plugin)))
    }

    /// Adds an engine compiled in.
    #[must_use]
    pub fn engine<P: Plugin + Engine>(self, kind: &str) -> Self {
        self.engine_kind(kind, typed::<P, dyn Engine>(|plugin| Box::new(plugin)))
    }

    /// Adds a handler of any origin. A kind that is registered already is not replaced; see [`duplicates`](Self::duplicates).
    #[must_use]
    pub fn handler_kind(mut self, kind: &str, handler: Arc<HandlerKind>) -> Self {
        add(&mut self.handlers, &mut self.duplicates, "handler", kind, handler);
        self
    }

    /// Adds a receiver of any origin. A kind that is registered already is not replaced; see [`duplicates`](Self::duplicates).
    #[must_use]
    pub fn receiver_kind(mut self, kind: &str, receiver: Arc<ReceiverKind>) -> Self {
        add(&mut self.receivers, &mut self.duplicates, "receiver", kind, receiver);
        self
    }

    /// Adds an engine of any origin. A kind that is registered already is not replaced; see [`duplicates`](Self::duplicates).
    #[must_use]
    pub fn engine_kind(mut self, kind: &str, engine: Arc<EngineKind>) -> Self {
        add(&mut self.engines, &mut self.duplicates, "engine", kind, engine);
        self
    }

    /// Adds a resource for the plugins that know `T`; see [`BuildContext::resource`](crate::BuildContext::resource).
    #[must_use]
    pub fn resource<T: Any + Send + Sync>(mut self, resource: T) -> Self {
        self.resources.insert(resource);
        self
    }

    /// The kinds that were added twice. A host does not start if there are any.
    #[must_use]
    pub fn duplicates(&self) -> &[DuplicateKind] {
        &self.duplicates
    }

    /// The handlers, by name.
    #[must_use]
    pub fn handlers(&self) -> &Kinds<dyn CustomHandler> {
        &self.handlers
    }

    /// The receivers, by name.
    #[must_use]
    pub fn receivers(&self) -> &Kinds<dyn Receiver> {
        &self.receivers
    }

    /// The engines, by name.
    #[must_use]
    pub fn engines(&self) -> &Kinds<dyn Engine> {
        &self.engines
    }

    /// The resources that the kinds need, for [`HostBuilder::resources`](crate::HostBuilder::resources).
    #[must_use]
    pub fn resources(&self) -> &Extensions {
        &self.resources
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("handlers", &self.handlers.keys())
            .field("receivers", &self.receivers.keys())
            .field("engines", &self.engines.keys())
            .finish_non_exhaustive()
    }
}

fn add<K: ?Sized>(
    kinds: &mut BTreeMap<String, Arc<K>>,
    duplicates: &mut Vec<DuplicateKind>,
    role: &'static str,
    name: &str,
    kind: Arc<K>,
) {
    if kinds.contains_key(name) {
        duplicates.push(DuplicateKind { role, kind: name.to_owned() });
    } else {
        kinds.insert(name.to_owned(), kind);
    }
}

/// A kind for a plugin type.
struct Typed<P, T: ?Sized> {
    erase: fn(P) -> Box<T>,
}

fn typed<P: Plugin, T: ?Sized + 'static>(erase: fn(P) -> Box<T>) -> Arc<dyn Kind<T>> {
    Arc::new(Typed { erase })
}

impl<P: Plugin, T: ?Sized + 'static> Kind<T> for Typed<P, T> {
    fn schema(&self) -> Value {
        schemars::schema_for!(P::Config).to_value()
    }

    fn configure(&self, config: Value) -> Result<Factory<T>, Vec<Problem>> {
        let config: P::Config = serde_path_to_error::deserialize(config).map_err(|error| {
            let path = error.path().to_string();
            let path = if path == "." { "" } else { &path };
            vec![Problem::new(path, error.inner().to_string())]
        })?;
        let problems = P::validate(&config);
        if problems.is_empty() { Ok(factory(config, self.erase)) } else { Err(problems) }
    }
}
