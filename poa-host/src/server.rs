//! A server: a configuration, the host made of it, and the admin listener, through reloads to the end.

use poa_auth::Auth;
use poa_core::{HostHandle, Registry};
use poa_http::Listeners;
use tokio::sync::mpsc;

use crate::admin::{Admin, Phase, View};
use crate::running::{Running, plugins_let_go};
use crate::{Chain, Config, Outcome, ServerError, Signal, Source, told_to_stop};

/// A server whose listeners are all bound.
#[derive(Debug)]
pub struct Server {
    source: Source,
    registry: Registry,
    admin: Admin,
    /// What the host listens on, which stays open while it is replaced.
    listeners: Listeners,
    running: Running,
}

/// Starts a server, tells `ready`, and serves until a signal ends it. A signal to stop is obeyed while it starts, too.
///
/// # Errors
/// When the server does not start, or comes to an end because neither a new nor the old configuration works any more.
pub async fn run(
    source: Source,
    registry: Registry,
    mut signals: mpsc::Receiver<Signal>,
    ready: impl FnOnce(&Server),
) -> Result<Outcome, ServerError> {
    let server = tokio::select! {
        server = Server::start(source, registry) => server?,
        _ = told_to_stop(&mut signals) => return Ok(Outcome::nothing_left()),
    };
    ready(&server);
    server.run(signals).await
}

impl Server {
    /// Reads the configuration, binds the admin listener, then starts the host.
    ///
    /// Cancel safe: when dropped, nothing runs.
    ///
    /// # Errors
    /// When the configuration has problems, or something cannot be built. Nothing runs then.
    pub async fn start(source: Source, registry: Registry) -> Result<Self, ServerError> {
        let config = source.load(&registry).map_err(ServerError::Config)?;
        let view = View { phase: Phase::Starting, host: None, warnings: Vec::new() };
        let listeners = Listeners::default();
        let admin = Admin::start(config.admin_settings(), config.data_dir(), &listeners, view)
            .map_err(ServerError::Admin)?;
        let running = Running::start(config, &listeners).await?;
        let server = Self { source, registry, admin, listeners, running };
        server.show_ready(None);
        Ok(server)
    }

    /// Where everything is reached, by name; `admin` first.
    #[must_use]
    pub fn addresses(&self) -> Vec<(String, String)> {
        let admin = ("admin".to_owned(), self.admin.endpoint().to_owned());
        std::iter::once(admin).chain(self.running.addresses()).collect()
    }

    /// The configuration that runs.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.running.config
    }

    /// The users of the host that runs.
    #[must_use]
    pub fn auth(&self) -> &Auth {
        &self.running.auth
    }

    /// The host that runs now; a reload replaces it.
    #[must_use]
    pub fn handle(&self) -> HostHandle {
        self.running.handle()
    }

    /// Serves until told to stop, then drains. Ends also when nobody is left to tell it.
    ///
    /// # Errors
    /// When a reload failed and the configuration of before does not start any more either.
    pub async fn run(
        mut self,
        mut signals: mpsc::Receiver<Signal>,
    ) -> Result<Outcome, ServerError> {
        while let Some(Signal::Hangup) = signals.recv().await {
            self = self.reload().await?;
        }
        tracing::info!("draining");
        self.admin.show(|view| view.phase = Phase::Draining);
        let durable = self.running.is_durable();
        let outcome = tokio::select! {
            (_, report) = self.running.stop() => Outcome::stopped(report, durable),
            signal = told_to_stop(&mut signals) => Outcome::Aborted(signal),
        };
        if matches!(outcome, Outcome::Stopped { .. }) {
            self.admin.stop().await;
        }
        Ok(outcome)
    }

    /// Replaces the host by one of the configuration as it stands now; meanwhile its addresses stay open, and who connects waits. With a configuration that is not valid, nothing
    /// changes; when the new host does not start, the old one is started again.
    async fn reload(self) -> Result<Self, ServerError> {
        let config = match self.source.load(&self.registry) {
            Ok(config) => config,
            Err(problems) => {
                problems.lines().for_each(|line| tracing::error!("{line}"));
                tracing::error!("not reloaded; the server runs on unchanged");
                let failed = format!("the last reload failed, nothing was changed: {problems}");
                self.show_ready(Some(failed));
                return Ok(self);
            }
        };
        let Self { source, registry, admin, listeners, running } = self;
        admin.show(|view| view.phase = Phase::Reloading);
        listeners.keep_open();
        let old = running.hand_over().await;
        let moved = !admin.is_as_in(config.admin_settings());
        let (running, failed) = start_either(config, old, &listeners).await?;
        listeners.close_unused();
        let failed = failed.or_else(|| moved.then(|| ADMIN_STAYS.to_owned()));
        failed.iter().for_each(|failed| tracing::warn!("{failed}"));
        let server = Self { source, registry, admin, listeners, running };
        server.show_ready(failed);
        tracing::info!(addresses = ?server.addresses(), "running");
        Ok(server)
    }

    fn show_ready(&self, warning: Option<String>) {
        let (host, warnings) = (Some(self.handle()), Vec::from_iter(warning));
        self.admin.show(|view| *view = View { phase: Phase::Ready, host, warnings });
    }
}

const ADMIN_STAYS: &str =
    "[admin] has changed; that needs a restart, until then the admin listener stays as it is";

/// Starts a host of the new configuration, or of the old one; then with what went wrong.
async fn start_either(
    new: Config,
    old: Config,
    listeners: &Listeners,
) -> Result<(Running, Option<String>), ServerError> {
    let error = match Running::start(new, listeners).await {
        Ok(running) => return Ok((running, None)),
        Err(error) => Chain(&error).to_string(),
    };
    tracing::error!("{error}");
    plugins_let_go().await;
    let failed = format!("the last reload failed, the old configuration runs on: {error}");
    Ok((Running::start(old, listeners).await?, Some(failed)))
}
