//! Turns a TOML file into the parts of a host, or into all its problems.

mod checks;
mod document;
mod environment;
mod files;
mod handler;
mod merge;
mod outline;
mod path;
mod position;
mod problems;
mod read;
pub(crate) mod shape;
mod substitute;
mod suggest;
mod top;
mod unknown;
mod walk;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use poa_auth::{Auth, AuthConfig};
use poa_core::{
    EngineFactory, HandlerFactory, Host, HostBuilder, ReceiverFactory, ReceiverOptions, Registry,
};
use poa_dead_letters::DeadLetterStore;
use poa_http::{Listen, Shares};
use serde_json::Value;

pub(crate) use document::Part;
pub(crate) use files::Files;
pub(crate) use handler::HandlerOptions;
pub use outline::Outline;
pub use position::Position;
pub use problems::{Located, Problems};
use read::{Read, Reading};
pub(crate) use top::{Admin as AdminSettings, Top};
pub(crate) use walk::Found;

use crate::plugins::Kinds;

/// A configuration without a problem: every section was read, and its plugin accepted it.
#[derive(Clone)]
pub struct Config {
    top: Top,
    engine: EngineFactory,
    handlers: Vec<(String, HandlerFactory)>,
    receivers: Vec<(String, ReceiverOptions, ReceiverFactory)>,
    /// The document as it was written, with values in place of references.
    written: Arc<Value>,
}

/// The depth of the checks of a configuration.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CheckOptions {
    /// Whether to load the libraries under `[[plugins]]`; otherwise their sections are not checked.
    pub libraries: bool,
    /// Whether to check the resources that the configuration names: certificates, programs, directories, addresses.
    pub environment: bool,
}

impl Default for CheckOptions {
    /// Everything.
    fn default() -> Self {
        Self { libraries: true, environment: true }
    }
}

/// A configuration without a problem, with warnings.
#[derive(Debug)]
#[non_exhaustive]
pub struct Checked {
    /// The configuration, without the sections that were not checked.
    pub config: Config,
    /// Settings that are allowed, but probably not intended.
    pub warnings: Vec<Located>,
    /// The sections that only a library could check, which was not loaded: `receivers.mine`.
    pub not_checked: Vec<String>,
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl Config {
    /// Reads and checks a file, or a directory whose files that end in `.toml` are read as one. Touches nothing else, except the
    /// files it names as `${file:PATH}`, and the libraries under `[[plugins]]`, which it loads.
    ///
    /// # Errors
    /// Every problem that can be found without building a plugin. An unreadable file is one, too.
    pub fn load(file: &Path, registry: &Registry) -> Result<Self, Problems> {
        let options = CheckOptions { libraries: true, environment: false };
        Ok(Self::check(&Files::read(file)?, registry, options)?.config)
    }

    /// Reads and checks a text. `file` names it in problems; `${file:PATH}` and the paths of plugins are relative to its directory.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(text: &str, file: &Path, registry: &Registry) -> Result<Self, Problems> {
        let options = CheckOptions { libraries: true, environment: false };
        Ok(Self::check(&Files::of_text(text, file), registry, options)?.config)
    }

    pub(crate) fn check(
        files: &Files,
        registry: &Registry,
        options: CheckOptions,
    ) -> Result<Checked, Problems> {
        let CheckOptions { libraries, environment } = options;
        let reading = Reading { files, registry, env: &variable, libraries, environment };
        let Read { config, warnings, not_checked } = read::read(&reading).map_err(Problems::new)?;
        Ok(Checked { config, warnings, not_checked })
    }

    /// The kinds that a configuration can use: those of `registry`, and those of the libraries that it names. Nothing else in it is
    /// checked.
    pub(crate) fn kinds(files: &Files, registry: &Registry) -> Result<Kinds, Problems> {
        let reading =
            Reading { files, registry, env: &variable, libraries: true, environment: false };
        read::kinds(&reading).map_err(Problems::new)
    }

    pub(crate) fn outline(files: &Files) -> Result<Outline, Problems> {
        let registry = &Registry::new();
        let reading =
            Reading { files, registry, env: &variable, libraries: false, environment: false };
        read::outline(&reading).map_err(Problems::new)
    }

    /// The document as it was written, with values in place of references. It may contain secrets.
    pub(crate) fn written(&self) -> &Value {
        &self.written
    }

    pub(crate) fn written_shared(&self) -> Arc<Value> {
        Arc::clone(&self.written)
    }

    /// The document, with references in place where they cannot be resolved.
    pub(crate) fn sketch(files: &Files) -> Result<Value, Problems> {
        let registry = &Registry::new();
        let reading =
            Reading { files, registry, env: &variable, libraries: false, environment: false };
        read::sketch(&reading).map_err(Problems::new)
    }

    /// The directory for everything the server writes.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.top.data_dir
    }

    /// The accepted data types.
    pub fn metrics(&self) -> impl Iterator<Item = &str> {
        self.top.metrics.iter().map(String::as_str)
    }

    /// The names of the receivers.
    pub fn receivers(&self) -> impl Iterator<Item = &str> {
        self.receivers.iter().map(|(name, ..)| name.as_str())
    }

    /// The factory of this handler.
    #[must_use]
    pub fn handler(&self, name: &str) -> Option<HandlerFactory> {
        self.handlers.iter().find(|(own, _)| own == name).map(|(_, factory)| factory.clone())
    }

    /// The factory of this receiver.
    #[must_use]
    pub fn receiver(&self, name: &str) -> Option<ReceiverFactory> {
        self.receivers.iter().find(|(own, ..)| own == name).map(|(.., factory)| factory.clone())
    }

    /// The options of this receiver.
    #[must_use]
    pub fn receiver_options(&self, name: &str) -> Option<&ReceiverOptions> {
        let found = self.receivers.iter().find(|(own, ..)| own == name);
        found.map(|(_, options, _)| options)
    }

    /// The options of this receiver, and its factory.
    pub(crate) fn receiver_parts(&self, name: &str) -> Option<(ReceiverOptions, ReceiverFactory)> {
        let found = self.receivers.iter().find(|(own, ..)| own == name);
        found.map(|(_, options, factory)| (options.clone(), factory.clone()))
    }

    /// The address of the admin listener.
    #[must_use]
    pub fn admin(&self) -> &Listen {
        &self.top.admin.listen
    }

    /// The settings of the admin listener.
    pub(crate) fn admin_settings(&self) -> &AdminSettings {
        &self.top.admin
    }

    /// The division of the memory for bodies among the senders. The rest of the memory is for small bodies and for queues.
    fn shares(&self) -> Shares {
        let limits = self.top.limits;
        Shares::new(self.top.memory_limit.get() / 2, limits.user.share(), limits.address.share())
    }

    /// The `[auth]` section.
    #[must_use]
    pub fn auth(&self) -> &AuthConfig {
        &self.top.auth
    }

    /// The `[traces]` section, if there is one.
    #[must_use]
    pub fn traces(&self) -> Option<&poa_traces::Config> {
        self.top.traces.as_ref()
    }

    /// How long a stop may take, apart from the engine.
    pub(crate) fn stop_limit(&self) -> std::time::Duration {
        self.top.stop.handlers.get() + self.top.stop.drain.get()
    }

    /// Opens the store of dead letters, and creates it if it is missing.
    ///
    /// # Errors
    /// When the file in the data directory cannot be used.
    pub fn open_dead_letters(&self) -> Result<DeadLetterStore, poa_dead_letters::OpenError> {
        let file = self.top.data_dir.join("dead_letters.db");
        DeadLetterStore::open(file, self.top.dead_letters.max_bytes.get())
    }

    /// The kind of the engine that carries messages.
    #[must_use]
    pub fn engine(&self) -> &str {
        &self.top.bus.engine
    }

    /// Whether the engine is known to serve this machine only.
    pub(crate) fn is_local(&self) -> bool {
        top::LOCAL.contains(&self.engine())
    }

    /// Describes the host, with `auth` as the authenticator, and `dead_letters` as the store for messages that cannot be delivered.
    pub fn host(&self, auth: &Auth, dead_letters: &DeadLetterStore) -> HostBuilder {
        let top = &self.top;
        let host = Host::builder()
            .data_types(&top.metrics)
            .data_dir(&top.data_dir)
            .engine_from(&top.bus.engine, self.engine.clone())
            .unrouted(top.bus.unrouted)
            .ack(top.bus.ack())
            .delivered_within(top.bus.delivered_within.get())
            .idempotency(top.bus.idempotency())
            .rates(top.limits.rates())
            .memory_limit(top.memory_limit.get())
            .inactive_after(top.inactive_after.get())
            .start_timeout(top.start_timeout.get())
            .stop_timeouts(top.stop.handlers.get(), top.stop.drain.get())
            .authenticator(Arc::new(auth.clone()))
            .resource(auth.clone())
            .resource(self.shares())
            .dead_letters(Arc::new(dead_letters.clone()));
        let acks = top.bus.ack_for.iter();
        let host = acks.fold(host, |host, (name, ack)| host.ack_for(name, *ack));
        let handlers = self.handlers.iter();
        let host =
            handlers.fold(host, |host, (name, factory)| host.handler_from(name, factory.clone()));
        self.receivers.iter().fold(host, |host, (name, options, factory)| {
            host.receiver_from(name, options.clone(), factory.clone())
        })
    }
}

/// Names only: values may be secret.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handlers: Vec<_> = self.handlers.iter().map(|(name, _)| name).collect();
        let receivers: Vec<_> = self.receivers.iter().map(|(name, ..)| name).collect();
        f.debug_struct("Config")
            .field("metrics", &self.top.metrics)
            .field("handlers", &handlers)
            .field("receivers", &receivers)
            .finish_non_exhaustive()
    }
}
