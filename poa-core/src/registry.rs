//! Which kinds of plugins a host knows.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::Problem;
use crate::plugin::{handler_factory, receiver_factory};
use crate::{HandlerFactory, HandlerPlugin, ReceiverFactory, ReceiverPlugin};

/// A kind of handler: what `kind = "…"` names in a section of the configuration.
pub trait HandlerKind: Send + Sync {
    /// The JSON Schema of the section, without `kind`.
    fn schema(&self) -> Value;

    /// A factory for this configuration, or everything that is wrong with it. Pure.
    ///
    /// # Errors
    /// Every problem that can be found without building.
    fn configure(&self, config: Value) -> Result<HandlerFactory, Vec<Problem>>;
}

/// A kind of receiver: what `kind = "…"` names in a section of the configuration.
pub trait ReceiverKind: Send + Sync {
    /// The JSON Schema of the section, without `kind` and without the keys common to all receivers.
    fn schema(&self) -> Value;

    /// A factory for this configuration, or everything that is wrong with it. Pure.
    ///
    /// # Errors
    /// Every problem that can be found without building.
    fn configure(&self, config: Value) -> Result<ReceiverFactory, Vec<Problem>>;
}

/// The kinds of handlers and receivers a host can build, by name.
#[derive(Clone, Default)]
pub struct Registry {
    handlers: BTreeMap<String, Arc<dyn HandlerKind>>,
    receivers: BTreeMap<String, Arc<dyn ReceiverKind>>,
    duplicates: Vec<DuplicateKind>,
}

/// A kind was registered twice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{role} kind `{kind}` is registered twice; give one of them another name")]
pub struct DuplicateKind {
    /// `handler` or `receiver`.
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
    pub fn handler<P: HandlerPlugin>(self, kind: &str) -> Self {
        self.handler_kind(kind, Arc::new(Typed::<P>(PhantomData)))
    }

    /// Adds a receiver compiled in.
    #[must_use]
    pub fn receiver<P: ReceiverPlugin>(self, kind: &str) -> Self {
        self.receiver_kind(kind, Arc::new(Typed::<P>(PhantomData)))
    }

    /// Adds a handler of any origin. A kind that is taken stays as it was; see [`duplicates`](Self::duplicates).
    #[must_use]
    pub fn handler_kind(mut self, kind: &str, handler: Arc<dyn HandlerKind>) -> Self {
        add(&mut self.handlers, &mut self.duplicates, "handler", kind, handler);
        self
    }

    /// Adds a receiver of any origin. A kind that is taken stays as it was; see [`duplicates`](Self::duplicates).
    #[must_use]
    pub fn receiver_kind(mut self, kind: &str, receiver: Arc<dyn ReceiverKind>) -> Self {
        add(&mut self.receivers, &mut self.duplicates, "receiver", kind, receiver);
        self
    }

    /// The kinds that were added twice. A host does not start with any.
    #[must_use]
    pub fn duplicates(&self) -> &[DuplicateKind] {
        &self.duplicates
    }

    /// The handlers, by name.
    #[must_use]
    pub fn handlers(&self) -> &BTreeMap<String, Arc<dyn HandlerKind>> {
        &self.handlers
    }

    /// The receivers, by name.
    #[must_use]
    pub fn receivers(&self) -> &BTreeMap<String, Arc<dyn ReceiverKind>> {
        &self.receivers
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("handlers", &self.handlers.keys())
            .field("receivers", &self.receivers.keys())
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

/// A kind made of a plugin type.
struct Typed<P>(PhantomData<fn() -> P>);

impl<P: HandlerPlugin> HandlerKind for Typed<P> {
    fn schema(&self) -> Value {
        schemars::schema_for!(P::Config).to_value()
    }

    fn configure(&self, config: Value) -> Result<HandlerFactory, Vec<Problem>> {
        read(config, P::validate).map(handler_factory::<P>)
    }
}

impl<P: ReceiverPlugin> ReceiverKind for Typed<P> {
    fn schema(&self) -> Value {
        schemars::schema_for!(P::Config).to_value()
    }

    fn configure(&self, config: Value) -> Result<ReceiverFactory, Vec<Problem>> {
        read(config, P::validate).map(receiver_factory::<P>)
    }
}

fn read<C: DeserializeOwned>(
    config: Value,
    validate: impl Fn(&C) -> Vec<Problem>,
) -> Result<C, Vec<Problem>> {
    let config: C = serde_path_to_error::deserialize(config).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { "" } else { &path };
        vec![Problem::new(path, error.inner().to_string())]
    })?;
    let problems = validate(&config);
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}
