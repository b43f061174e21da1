//! The listener for operators.

mod certificates;
mod control;
mod exposition;
mod guard;
pub(crate) mod private;
mod process;
mod program;
mod routes;
#[cfg(test)]
mod tests;
mod token;
mod view;

use std::path::Path;

use poa_core::config::Duration;
use poa_core::{BuildContext, BuildError};
use poa_http::{Limits, Listeners, Server, Tls, TowerToHyperService};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) use certificates::named as certificates;
pub(crate) use control::{Command, Control};
use guard::Guard;
pub use token::ADMIN_TOKEN_FILE;
pub(crate) use token::AdminToken;
pub(crate) use view::{Phase, View};

use crate::config::AdminSettings;

/// The admin listener, serving. It keeps running while hosts are replaced, and ends when dropped.
#[derive(Debug)]
pub(crate) struct Admin {
    settings: AdminSettings,
    endpoint: String,
    view: watch::Sender<View>,
    task: JoinHandle<()>,
    shutdown: CancellationToken,
}

impl Admin {
    /// Listens and serves. A certificate that has to be created is kept in `data_dir`.
    ///
    /// # Errors
    /// When the address cannot be listened on, or the certificate cannot be used.
    pub(crate) fn start(
        settings: &AdminSettings,
        data_dir: &Path,
        listeners: &Listeners,
        view: View,
        control: Control,
    ) -> Result<Self, BuildError> {
        if settings.tls == Some(Tls::SelfSigned) {
            make_directory(data_dir)?;
        }
        let cx = BuildContext::detached("admin", data_dir).with_resource(listeners.clone());
        let server = Server::bind(settings.listen.clone(), settings.tls.as_ref(), limits(), &cx)?;
        let endpoint = server.endpoint();
        let (view, seen) = watch::channel(view);
        let shutdown = CancellationToken::new();
        let control = control.accepting(settings.token.clone());
        let guard = Guard::new(settings, control.clone());
        let router = guard::protect(routes::router(seen, control), guard);
        let service = TowerToHyperService::new(router);
        let task = tokio::spawn(server.serve(service, shutdown.clone()));
        Ok(Self { settings: settings.clone(), endpoint, view, task, shutdown })
    }

    /// Whether it was started with these settings.
    pub(crate) fn is_as_in(&self, settings: &AdminSettings) -> bool {
        self.settings == *settings
    }

    /// Its URL: `http://127.0.0.1:4000`.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Changes the state that it shows.
    pub(crate) fn show(&self, change: impl FnOnce(&mut View)) {
        self.view.send_modify(change);
    }

    /// Answers the requests it has accepted, and ends.
    pub(crate) async fn stop(mut self) {
        self.shutdown.cancel();
        let _ = (&mut self.task).await;
    }
}

/// Few clients use it, with small requests. So few files go to this listener however low their limit is, and the others get the
/// rest.
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
