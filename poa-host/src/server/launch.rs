//! Starts a server.

use poa_core::Registry;
use poa_core::telemetry::Telemetry;
use poa_http::Listeners;
use tokio::sync::mpsc;

use super::Server;
use crate::admin::{Admin, Control, View};
use crate::plan::Applied;
use crate::running::{Running, Surroundings};
use crate::signal::Inbox;
use crate::{About, Outcome, ServerError, Signal, Source};

/// The parameters for starting a server.
#[derive(Debug)]
pub struct Launch {
    source: Source,
    registry: Registry,
    about: About,
}

impl Launch {
    /// A server of this configuration that knows these kinds of plugins.
    #[must_use]
    pub fn new(source: Source, registry: Registry) -> Self {
        Self { source, registry, about: About::default() }
    }

    /// The description of the program on the admin listener.
    #[must_use]
    pub fn about(mut self, about: About) -> Self {
        self.about = about;
        self
    }

    /// Reads the configuration, binds the admin listener, then starts the host.
    ///
    /// Cancel safe: when dropped, nothing runs.
    ///
    /// # Errors
    /// When the configuration has problems, or something cannot be built. Nothing runs then.
    pub async fn start(self) -> Result<Server, ServerError> {
        let Self { source, registry, about } = self;
        let config = source.load(&registry).map_err(ServerError::Config)?;
        let (control, commands) = Control::new();
        let (listeners, applied) = (Listeners::default(), Applied::of(&config));
        let (settings, data_dir) = (config.admin_settings(), config.data_dir());
        let (version, view) = (about.version(), View::new(about));
        let admin = Admin::start(settings, data_dir, &listeners, view, control.clone())
            .map_err(ServerError::Admin)?;
        let telemetry = Telemetry::default();
        let (taps, telemetry) = (&control.taps, &telemetry);
        let around = Surroundings { listeners: &listeners, taps, telemetry, version };
        let running = Running::start(config, around).await?;
        let server = Server {
            source,
            registry,
            admin,
            listeners,
            running,
            applied,
            control,
            commands,
            version,
        };
        server.open_control();
        server.show_ready(None);
        Ok(server)
    }

    /// Starts the server, calls `ready`, and serves until a signal ends it. A signal to stop is obeyed during the start, too; one to
    /// reload, after it.
    ///
    /// # Errors
    /// When the server does not start, or ends because neither the new nor the old configuration works any more.
    pub async fn run(
        self,
        signals: mpsc::Receiver<Signal>,
        ready: impl FnOnce(&Server),
    ) -> Result<Outcome, ServerError> {
        let mut signals = Inbox::new(signals);
        let server = tokio::select! {
            server = self.start() => server?,
            _ = signals.told_to_stop() => return Ok(Outcome::nothing_left()),
        };
        ready(&server);
        server.serve(signals).await
    }
}
