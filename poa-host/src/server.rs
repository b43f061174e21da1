//! A server: a configuration, its host, and the admin listener, through reloads to the stop.

mod launch;

use std::path::PathBuf;

use poa_auth::Auth;
use poa_core::{HostHandle, Registry, Timestamp};
use poa_http::Listeners;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::admin::{
    ADMIN_TOKEN_FILE, Admin, AdminToken, Command, Control, Phase, certificates, private,
};
use crate::apply::{Applying, Failed};
use crate::plan::Applied;
use crate::reload::{ReloadResult, Reloaded};
use crate::replace::{Replaced, Replacement};
use crate::running::{Running, Surroundings};
use crate::signal::Inbox;
use crate::{CheckOptions, Config, Outcome, Plan, Problems, ServerError, Signal, Source};

pub use launch::Launch;

/// The name of the file in the data directory with the address of the running server's admin listener.
pub const ADMIN_ENDPOINT_FILE: &str = "admin_endpoint";

/// A server whose listeners are all bound.
#[derive(Debug)]
pub struct Server {
    source: Source,
    registry: Registry,
    admin: Admin,
    /// The sockets of the host, which stay open while it is replaced.
    listeners: Listeners,
    running: Running,
    /// The running configuration, and the files it names as they were when it started.
    applied: Applied,
    control: Control,
    commands: mpsc::Receiver<Command>,
    /// The version of the program.
    version: &'static str,
}

/// Starts a server, calls `ready`, and serves until a signal ends it. A signal to stop is obeyed during the start, too.
///
/// # Errors
/// When the server does not start, or ends because neither the new nor the old configuration works any more.
pub async fn run(
    source: Source,
    registry: Registry,
    signals: mpsc::Receiver<Signal>,
    ready: impl FnOnce(&Server),
) -> Result<Outcome, ServerError> {
    Launch::new(source, registry).run(signals, ready).await
}

impl Server {
    /// Reads the configuration, binds the admin listener, then starts the host.
    ///
    /// Cancel safe: when dropped, nothing runs.
    ///
    /// # Errors
    /// When the configuration has problems, or something cannot be built. Nothing runs then.
    pub async fn start(source: Source, registry: Registry) -> Result<Self, ServerError> {
        Launch::new(source, registry).start().await
    }

    /// All endpoints by name; `admin` first.
    #[must_use]
    pub fn addresses(&self) -> Vec<(String, String)> {
        let admin = ("admin".to_owned(), self.admin.endpoint().to_owned());
        std::iter::once(admin).chain(self.running.addresses()).collect()
    }

    /// The running configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.running.config
    }

    /// The users of the running host.
    #[must_use]
    pub fn auth(&self) -> &Auth {
        &self.running.auth
    }

    /// The running host; a reload replaces it.
    #[must_use]
    pub fn handle(&self) -> HostHandle {
        self.running.handle()
    }

    /// Serves until told to stop, then drains. Also ends when the sender of signals is dropped.
    ///
    /// # Errors
    /// None at present: after a reload where neither configuration starts, both are retried until one does.
    pub async fn run(self, signals: mpsc::Receiver<Signal>) -> Result<Outcome, ServerError> {
        self.serve(Inbox::new(signals)).await
    }

    async fn serve(mut self, mut signals: Inbox) -> Result<Outcome, ServerError> {
        while let Some(command) = self.next(&mut signals).await {
            match self.act(command, &mut signals).await {
                Ok(server) => self = server,
                Err(outcome) => return Ok(outcome),
            }
        }
        self.control.taps.close();
        tracing::info!("draining");
        self.admin.show(|view| view.phase = Phase::Draining);
        let durable = self.running.is_durable();
        let outcome = tokio::select! {
            (_, report) = self.running.stop() => Outcome::stopped(report, durable),
            signal = signals.told_to_stop() => Outcome::Aborted(signal),
        };
        if matches!(outcome, Outcome::Stopped { .. }) {
            self.admin.stop().await;
        }
        Ok(outcome)
    }

    /// The next command; `None` when the server must stop.
    async fn next(&mut self, signals: &mut Inbox) -> Option<Command> {
        tokio::select! {
            signal = signals.next() => match signal {
                // The result of a signal is in the log output and in `/status`.
                Some(Signal::Hangup) => Some(Command::Reload(oneshot::channel().0)),
                _ => None,
            },
            Some(command) = self.commands.recv() => Some(command),
        }
    }

    async fn act(self, command: Command, signals: &mut Inbox) -> Result<Self, Outcome> {
        match command {
            Command::Plan(file, answer) => {
                let _ = answer.send(self.plan(file));
                Ok(self)
            }
            Command::Reload(answer) => {
                let (server, reloaded) = self.reload(signals).await?;
                let _ = answer.send(reloaded);
                Ok(server)
            }
        }
    }

    /// The steps of a reload of a file, or of the server's own configuration.
    fn plan(&self, file: Option<PathBuf>) -> Result<Plan, Problems> {
        let source = file.map_or_else(|| self.source.clone(), Source::File);
        let new = source.load(&self.registry)?;
        Ok(Plan::of(&self.applied, &Applied::of(&new)))
    }

    /// Applies the current configuration, if it has changed. One with problems, including those of the files and programs it names,
    /// changes nothing; if the new host does not start, the old one is started again. Addresses stay open, and clients that connect
    /// wait.
    ///
    /// A signal to stop ends it: what is being built is dropped, and the server stops as at any other time.
    async fn reload(self, signals: &mut Inbox) -> Result<(Self, Reloaded), Outcome> {
        let begin = Instant::now();
        let took = |result, reason, plan| Reloaded {
            result,
            at: Timestamp::now(),
            took_ms: u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX),
            reason,
            plan,
        };
        tracing::info!("reloading the configuration");
        let config = match self.source.check(&self.registry, CheckOptions::default()) {
            Ok(checked) => checked.config,
            Err(problems) => {
                log_problems(&problems);
                let reloaded = took(ReloadResult::Refused, Some(problems.to_string()), None);
                let warning = format!("the last reload failed, nothing was changed: {problems}");
                return Ok((self.reloaded(reloaded.clone(), Some(warning)), reloaded));
            }
        };
        let moved = !self.admin.is_as_in(config.admin_settings());
        let stays = moved.then(|| ADMIN_STAYS.to_owned());
        let plan = Plan::of(&self.applied, &Applied::of(&config));
        if !plan.changes_host() {
            tracing::info!("the configuration has not changed; the host keeps running");
            stays.iter().for_each(|warning| tracing::warn!("{warning}"));
            let reloaded = took(ReloadResult::Unchanged, stays.clone(), Some(plan));
            return Ok((self.reloaded(reloaded.clone(), stays), reloaded));
        }
        let (server, unapplied) = if plan.is_live(config.written(), &self.taken()) {
            self.change(config, &plan, signals).await?
        } else {
            self.replace(config, signals).await?
        };
        let (result, warning) = match unapplied {
            Some((result, reason)) => (result, Some(reason)),
            None => (ReloadResult::Applied, stays),
        };
        warning.iter().for_each(|warning| tracing::warn!("{warning}"));
        let reloaded = took(result, warning.clone(), Some(plan));
        tracing::info!(addresses = ?server.addresses(), "running");
        Ok((server.reloaded(reloaded.clone(), warning), reloaded))
    }

    /// The plugins that listen, and where, as `ADDRESS:PORT`.
    fn taken(&self) -> Vec<(String, String)> {
        let endpoints = self.running.addresses().into_iter();
        let authority = |endpoint: &str| {
            let (_, rest) = endpoint.split_once("://")?;
            rest.split('/').next().map(str::to_owned)
        };
        endpoints.filter_map(|(name, endpoint)| Some((name, authority(&endpoint)?))).collect()
    }

    /// Changes the running host; if a step fails, undoes all of them, and returns the reason. Replaces the whole host if a plugin needs
    /// its address for itself.
    async fn change(
        mut self,
        config: Config,
        plan: &Plan,
        signals: &mut Inbox,
    ) -> Result<(Self, Option<Unapplied>), Outcome> {
        let host = self.handle();
        let (old, listeners) = (&self.running.config, &self.listeners);
        let applying = Applying { host: &host, old, new: &config, listeners };
        let Some(applied) = signals.unless_told_to_stop(applying.apply(plan)).await else {
            return Ok((self, Some((ReloadResult::Interrupted, STOPPED.to_owned()))));
        };
        match applied {
            Ok(()) => {
                self.applied = Applied::of(&config);
                self.running.config = config;
                Ok((self, None))
            }
            Err(Failed { needs_the_address: true, reason }) => {
                tracing::info!("replacing the whole host: {reason}");
                self.replace(config, signals).await
            }
            Err(Failed { reason, .. }) => {
                let failed = format!("the last reload failed, nothing was changed: {reason}");
                Ok((self, Some((ReloadResult::RolledBack, failed))))
            }
        }
    }

    /// Replaces the whole host; if the new one does not start, returns to the old one, with the reason.
    async fn replace(
        self,
        config: Config,
        signals: &mut Inbox,
    ) -> Result<(Self, Option<Unapplied>), Outcome> {
        self.admin.show(|view| view.phase = Phase::Reloading);
        self.listeners.keep_open();
        let telemetry = self.handle().telemetry().clone();
        let durable = self.running.is_durable();
        let handed_over = signals.during(self.running.hand_over()).await;
        let (old, report) = handed_over.map_err(Outcome::Aborted)?;
        if signals.is_told_to_stop() {
            return Err(Outcome::stopped(report, durable));
        }
        let replacement = Replacement {
            source: &self.source,
            registry: &self.registry,
            around: Surroundings {
                listeners: &self.listeners,
                taps: &self.control.taps,
                telemetry: &telemetry,
                version: self.version,
            },
            admin: &self.admin,
        };
        let Some(replaced) = replacement.run(config, &old, signals).await else {
            return Err(Outcome::stopped(report, durable));
        };
        let Replaced { running, applied, failed } = replaced;
        self.listeners.close_unused();
        let applied = applied.unwrap_or(self.applied);
        let failed = failed.map(|reason| (ReloadResult::RolledBack, reason));
        Ok((Self { running, applied, ..self }, failed))
    }

    fn reloaded(self, reloaded: Reloaded, warning: Option<String>) -> Self {
        self.admin.show(|view| view.reloads.add(reloaded));
        self.show_ready(warning);
        self
    }

    fn show_ready(&self, warning: Option<String>) {
        let (host, warnings) = (Some(self.handle()), Vec::from_iter(warning));
        self.admin.show(|view| {
            (view.phase, view.host, view.warnings) = (Phase::Ready, host, warnings);
            let config = self.config();
            view.data_dir = Some(config.data_dir().into());
            view.certificates = certificates(config.written(), config.data_dir()).into();
        });
    }

    /// Admits clients that can read the token in the data directory. A server without a token runs all the same.
    fn open_control(&self) {
        let data_dir = self.config().data_dir();
        match AdminToken::open(data_dir) {
            Ok(token) => self.control.open(token),
            Err(error) => {
                let file = data_dir.join(ADMIN_TOKEN_FILE);
                let file = file.display();
                tracing::warn!(
                    "cannot read or create {file}, so reload, plan, tap and top are not available: {error}"
                );
            }
        }
        let endpoint = data_dir.join(ADMIN_ENDPOINT_FILE);
        // Commands send the token to this address, so no other user may write the file, whatever the umask.
        if let Err(error) = private::write(&endpoint, self.admin.endpoint()) {
            let file = endpoint.display();
            tracing::warn!("cannot write {file}, in which commands find this server: {error}");
        }
    }
}

/// Each problem is a line of its own, and none is summarised.
fn log_problems(problems: &Problems) {
    problems.lines().for_each(|line| tracing::error!(target: "poa_host::problems", "{line}"));
    tracing::error!("reload failed; the server keeps running unchanged");
}

/// The result of a reload that was not applied, and the reason.
type Unapplied = (ReloadResult, String);

const STOPPED: &str = "the last reload was not completed: the server was told to stop";

const ADMIN_STAYS: &str =
    "[admin] has changed; that needs a restart, until then the admin listener is unchanged";
