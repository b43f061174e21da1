//! A host of one configuration, with what belongs to it.

use poa_auth::Auth;
use poa_core::{Host, HostHandle, StopReport};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{Config, ServerError};

/// A host of one configuration, running.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) config: Config,
    pub(crate) auth: Auth,
    host: Host,
    _watch: DropGuard,
}

impl Running {
    /// Opens the users, then starts the host.
    ///
    /// # Errors
    /// When either fails. Nothing runs then.
    pub(crate) async fn start(config: Config) -> Result<Self, ServerError> {
        let auth = open(&config).await?;
        let host = config.host(&auth).start().await?;
        auth.observe(host.handle().telemetry());
        let watched = auth.clone();
        // Users are also managed from the command line, whether or not a handler of this host manages them.
        let end = CancellationToken::new();
        let ended = end.clone();
        tokio::spawn(async move { watched.watch(ended).await });
        Ok(Self { config, auth, host, _watch: end.drop_guard() })
    }

    pub(crate) fn handle(&self) -> HostHandle {
        self.host.handle()
    }

    /// Where handlers and receivers are reached, by name.
    pub(crate) fn addresses(&self) -> Vec<(String, String)> {
        let plugins = self.handle().status().plugins;
        let each = plugins.into_iter().map(|plugin| (plugin.name, plugin.endpoints));
        each.flat_map(|(name, endpoints)| endpoints.into_iter().map(move |at| (name.clone(), at)))
            .collect()
    }

    /// Stops the host, and gives its configuration back.
    pub(crate) async fn stop(self) -> (Config, StopReport) {
        let report = self.host.stop().await;
        crate::outcome::log(&report, self.config.engine());
        (self.config, report)
    }
}

async fn open(config: &Config) -> Result<Auth, ServerError> {
    let (auth, data_dir) = (config.auth().clone(), config.data_dir().to_owned());
    let opened = tokio::task::spawn_blocking(move || Auth::open(auth, data_dir)).await;
    match opened {
        Ok(opened) => opened.map_err(ServerError::Auth),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
