//! The listener for operators.

mod guard;
mod process;
mod routes;
#[cfg(test)]
mod tests;
mod view;

use std::path::Path;

use poa_core::config::Duration;
use poa_core::{BuildContext, BuildError};
use poa_http::{Limits, Listeners, Server, Tls, TowerToHyperService};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use guard::Guard;
pub(crate) use view::{Phase, View};

use crate::config::AdminSettings;

/// The admin listener, serving. It goes on while hosts come and go, and ends when dropped.
#[derive(Debug)]
pub(crate) struct Admin {
    settings: AdminSettings,
    endpoint: String,
    view: watch::Sender<View>,
    task: JoinHandle<()>,
    shutdown: CancellationToken,
}

impl Admin {
    /// Listens and serves. A certificate that has to be made is kept in `data_dir`.
    ///
    /// # Errors
    /// When the address cannot be listened on, or the certificate cannot be used.
    pub(crate) fn start(
        settings: &AdminSettings,
        data_dir: &Path,
        listeners: &Listeners,
        view: View,
    ) -> Result<Self, BuildError> {
        if settings.tls == Some(Tls::SelfSigned) {
            make_directory(data_dir)?;
        }
        let cx = BuildContext::detached("admin", data_dir).with_resource(listeners.clone());
        let server = Server::bind(settings.listen.clone(), settings.tls.as_ref(), limits(), &cx)?;
        let endpoint = server.endpoint();
        let (view, seen) = watch::channel(view);
        let shutdown = CancellationToken::new();
        let router = guard::protect(routes::router(seen), Guard::new(settings));
        let service = TowerToHyperService::new(router);
        let task = tokio::spawn(server.serve(service, shutdown.clone()));
        Ok(Self { settings: settings.clone(), endpoint, view, task, shutdown })
    }

    /// Whether it was started with these settings.
    pub(crate) fn is_as_in(&self, settings: &AdminSettings) -> bool {
        self.settings == *settings
    }

    /// Where it is reached: `http://127.0.0.1:4000`.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Changes what it shows.
    pub(crate) fn show(&self, change: impl FnOnce(&mut View)) {
        self.view.send_modify(change);
    }

    /// Answers what it has taken, and ends.
    pub(crate) async fn stop(mut self) {
        self.shutdown.cancel();
        let _ = (&mut self.task).await;
    }
}

/// Few ask, and none has much to say. So few files go to this listener however low their limit is, and the others get the rest.
fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_connections = 32;
    limits.body_timeout = Duration::from_secs(10);
    limits
}

fn make_directory(path: &Path) -> Result<(), BuildError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|error| {
        let path = path.display();
        BuildError::failed(format!(
            "cannot create the data directory {path}; is its parent writable?"
        ))
        .with_source(error)
    })
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.task.abort();
    }
}
