//! A host of one configuration, with its users and library instances.

use std::sync::Arc;
use std::time::Duration;

use poa_auth::Auth;
use poa_core::engine::SharedStore;
use poa_core::telemetry::Telemetry;
use poa_core::{BoxError, Host, HostHandle, StopReport};
use poa_dead_letters::DeadLetterStore;
use poa_http::Listeners;
use poa_traces::{Service, Traces};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::tap::Taps;
use crate::{Config, ServerError};

/// The parts of a server that outlive its hosts.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings<'s> {
    /// The sockets, which stay open while a host is replaced.
    pub(crate) listeners: &'s Listeners,
    pub(crate) taps: &'s Taps,
    /// The metrics, which each host continues.
    pub(crate) telemetry: &'s Telemetry,
    /// The version of the program.
    pub(crate) version: &'s str,
}

/// A host of one configuration, running.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) config: Config,
    pub(crate) auth: Auth,
    host: Host,
    traces: Option<Traces>,
    _watch: DropGuard,
}

impl Running {
    /// Opens the users, then starts the host.
    ///
    /// # Errors
    /// When either fails. Nothing runs then.
    pub(crate) async fn start(
        config: Config,
        around: Surroundings<'_>,
    ) -> Result<Self, ServerError> {
        let (auth, dead_letters) = open(&config).await?;
        let traces = traces(&config, around)?;
        let host = config.host(&auth, &dead_letters).continuing(around.telemetry);
        let host = host.observer(Arc::new(around.taps.clone()));
        let host = traces.iter().fold(host, |host, traces| host.observer(traces.observer()));
        let host = match config.is_local() {
            true => host,
            false => {
                let users = auth.clone();
                host.prepare(move |store| connect(users, store))
            }
        };
        let host = host.resource(around.listeners.clone()).start().await?;
        auth.observe(host.handle().telemetry());
        dead_letters.observe(host.handle().telemetry());
        let end = CancellationToken::new();
        // Users and dead letters are also managed from the command line, by another process.
        let (watched, ended) = (auth.clone(), end.clone());
        tokio::spawn(async move { watched.watch(ended).await });
        let (handle, ended) = (host.handle(), end.clone());
        tokio::spawn(async move { dead_letters.serve_replays(handle, ended).await });
        Ok(Self { config, auth, host, traces, _watch: end.drop_guard() })
    }

    /// Whether messages survive the process.
    pub(crate) fn is_durable(&self) -> bool {
        self.handle().capabilities().durable
    }

    pub(crate) fn handle(&self) -> HostHandle {
        self.host.handle()
    }

    /// The endpoints of handlers and receivers, by name.
    pub(crate) fn addresses(&self) -> Vec<(String, String)> {
        let plugins = self.handle().status().plugins;
        let each = plugins.into_iter().map(|plugin| (plugin.name, plugin.endpoints));
        each.flat_map(|(name, endpoints)| endpoints.into_iter().map(move |at| (name.clone(), at)))
            .collect()
    }

    /// Stops the host, and returns its configuration. Traces are exported in what is left of the time for a stop.
    pub(crate) async fn stop(mut self) -> (Config, StopReport) {
        let end = Instant::now() + self.config.stop_limit();
        let traces = self.traces.take();
        let stopped = self.stop_host(Duration::MAX).await;
        if let Some(traces) = traces
            && tokio::time::timeout_at(end, traces.stop()).await.is_err()
        {
            tracing::warn!("traces were not exported: the stop took all of its time");
        }
        stopped
    }

    /// Stops the host for another one, and returns its configuration and what it left behind. Receivers get no more time than a batch needs, unless the
    /// backlog would be lost: the next host delivers the backlog in the log, and clients wait for it. Nor do they wait for traces, which are exported
    /// while the next host starts.
    pub(crate) async fn hand_over(self) -> (Config, StopReport) {
        let drain = if self.is_durable() { HAND_OVER } else { Duration::MAX };
        self.stop_host(drain).await
    }

    async fn stop_host(self, drain: Duration) -> (Config, StopReport) {
        let durable = self.is_durable();
        let report = self.host.stop_within(drain).await;
        crate::outcome::log(&report, durable);
        plugins_let_go().await;
        (self.config, report)
    }
}

/// The traces that a configuration asks for.
fn traces(config: &Config, around: Surroundings<'_>) -> Result<Option<Traces>, ServerError> {
    let Some(settings) = config.traces() else { return Ok(None) };
    let service = Service::new(settings, around.version);
    Ok(Some(Traces::start(settings, &service, around.telemetry)?))
}

/// How long receivers may take for their backlogs if the next host continues with them.
const HAND_OVER: Duration = Duration::from_secs(5);

/// How long libraries may take to free dropped instances.
const LETTING_GO: Duration = Duration::from_secs(2);

/// Waits until loaded plugins have released their resources, so that the next host finds ports and files free.
pub(crate) async fn plugins_let_go() {
    let left = poa_plugin::host::settled(LETTING_GO).await;
    if left > 0 {
        tracing::warn!(
            "{left} calls of loaded plugins have not ended; their resources stay in use"
        );
    }
}

/// Takes the users from the store that the nodes of the engine share, or from the database if there is none.
async fn connect(auth: Auth, store: Option<Arc<dyn SharedStore>>) -> Result<(), BoxError> {
    match store {
        Some(store) => auth.share(store).await,
        None => match tokio::task::spawn_blocking(move || auth.use_database()).await {
            Ok(opened) => Ok(opened?),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        },
    }
}

async fn open(config: &Config) -> Result<(Auth, DeadLetterStore), ServerError> {
    let config = config.clone();
    let opened = tokio::task::spawn_blocking(move || {
        // It creates the data directory, which the other needs.
        let (settings, data_dir) = (config.auth().clone(), config.data_dir());
        let auth = match config.is_local() {
            true => Auth::open(settings, data_dir),
            // The place of the users is known once the engine is.
            false => Auth::prepare(settings, data_dir),
        };
        let auth = auth.map_err(ServerError::Auth)?;
        let dead_letters = config.open_dead_letters().map_err(ServerError::DeadLetters)?;
        Ok((auth, dead_letters))
    });
    match opened.await {
        Ok(opened) => opened,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
