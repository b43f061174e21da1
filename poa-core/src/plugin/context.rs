//! The environment of a plugin while it is built.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::engine::BusSettings;
use crate::shared::Shared;
use crate::telemetry::Telemetry;
use crate::{DataTypes, Extensions};

/// The environment of a plugin while it is built.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
/// use poa_core::BuildContext;
///
/// /// The state that the handler and the receiver of one crate share.
/// #[derive(Default)]
/// struct Outstanding(AtomicU64);
///
/// // A host passes a context to `Plugin::build`; `detached` makes one for a test.
/// let cx = BuildContext::detached("requests", std::env::temp_dir());
/// let of_handler = cx.shared(Outstanding::default);
/// let of_receiver = cx.clone().with_name("answers").shared(Outstanding::default);
/// of_handler.0.fetch_add(1, Relaxed);
/// assert_eq!(of_receiver.0.load(Relaxed), 1);
/// ```
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
