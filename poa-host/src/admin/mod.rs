//! The listener for those who run the server.

mod process;
mod routes;
#[cfg(test)]
mod tests;
mod view;

use std::net::SocketAddr;

use poa_core::{BuildContext, BuildError};
use poa_http::{Limits, Server, TowerToHyperService};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) use view::{Phase, View};

/// The admin listener, serving. It goes on while hosts come and go, and ends when dropped.
#[derive(Debug)]
pub(crate) struct Admin {
    listen: SocketAddr,
    endpoint: String,
    view: watch::Sender<View>,
    task: JoinHandle<()>,
    shutdown: CancellationToken,
}

impl Admin {
    /// Listens and serves.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub(crate) fn start(listen: SocketAddr, view: View) -> Result<Self, BuildError> {
        let cx = BuildContext::detached("admin", "");
        let server = Server::bind(listen, None, Limits::default(), &cx)?;
        let endpoint = server.endpoint();
        let (view, seen) = watch::channel(view);
        let shutdown = CancellationToken::new();
        let service = TowerToHyperService::new(routes::router(seen));
        let task = tokio::spawn(server.serve(service, shutdown.clone()));
        Ok(Self { listen, endpoint, view, task, shutdown })
    }

    /// Where it was told to listen.
    pub(crate) fn listen(&self) -> SocketAddr {
        self.listen
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

impl Drop for Admin {
    fn drop(&mut self) {
        self.task.abort();
    }
}
