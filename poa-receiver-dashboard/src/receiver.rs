//! The receiver: stores what the host delivers, and owns the listener.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use hyper::service::service_fn;
use poa_core::config::{Problem, Secret};
use poa_core::{
    Activity, BoxError, BuildContext, BuildError, DeliveryError, Message, Plugin, Receiver,
    ReceiverContext, async_trait,
};
use poa_http::Server;
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::read::{Reading, read};
use crate::saver::Saver;
use crate::secret;
use crate::serving::Serving;
use crate::state::{Bounds, Saved, State};
use crate::store::{Store, StoreError, secret_file, set_aside};
use crate::web::{Access, Setup, Site};

/// Shows the metrics of agents: a WebSocket feed, and a web page.
///
/// All methods are cancel safe. A message is confirmed once it is in the queues of all clients, without waiting for
/// any of them.
#[derive(Debug)]
pub struct Dashboard {
    state: State,
    saver: Saver,
    endpoint: String,
    shutdown: CancellationToken,
    /// Bound, but not served yet.
    bound: Option<(Server, Arc<Site>)>,
    serving: Option<Serving>,
}

#[async_trait]
impl Plugin for Dashboard {
    type Config = Config;

    fn validate(config: &Config) -> Vec<Problem> {
        config.problems()
    }

    /// Binds the listener and opens the file of the last values.
    ///
    /// # Errors
    /// [`BuildError::Failed`] when the port is taken, the certificate cannot be used, or the file is not a file of the
    /// dashboard.
    async fn build(config: Config, cx: &BuildContext) -> Result<Self, BuildError> {
        // An embedder's configuration has not passed `validate`.
        if let Some(problem) = config.problems().first() {
            return Err(BuildError::failed(problem.to_string()));
        }
        let server = Server::bind(config.listen, config.tls.as_ref(), config.limits, cx)?;
        let path = cx.data_dir().join(&config.path);
        let given = config.ws_secret.clone();
        let opened = tokio::task::spawn_blocking(move || open(&path, given)).await;
        let opened = opened.map_err(|error| {
            BuildError::failed("cannot open the last values").with_source(error)
        })?;
        let opened = opened.map_err(|error| BuildError::failed(error.to_string()))?;
        Ok(Self::of(config, cx, server, opened))
    }
}

/// Logs the number of agents that were loaded.
struct Opened {
    store: Store,
    saved: Vec<Saved>,
    access: Access,
}

/// Opens the file of the last values, or a new one in place of one that is damaged. Blocks.
fn open(path: &Path, secret: Option<Secret>) -> Result<Opened, BoxError> {
    let (store, saved, key) = match read_saved(path) {
        Err(error) if error.is_damaged() => {
            set_aside(path)?;
            read_saved(path)?
        }
        read => read?,
    };
    let secret = match secret {
        Some(secret) => secret,
        None => secret::read_or_make(&secret_file(path))?,
    };
    Ok(Opened { store, saved, access: Access::new(&secret, &key) })
}

fn read_saved(path: &Path) -> Result<(Store, Vec<Saved>, Vec<u8>), StoreError> {
    let store = Store::open(path)?;
    let failed = |source| StoreError::Database { path: path.display().to_string(), source };
    let saved = store.load().map_err(failed)?;
    let key = store.key("cookies", secret::random).map_err(failed)?;
    Ok((store, saved, key))
}

impl Dashboard {
    fn of(config: Config, cx: &BuildContext, server: Server, opened: Opened) -> Self {
        let labels = [("receiver", cx.name())];
        let help = "Times that the last values could not be written";
        let failures = cx.telemetry().counter("dashboard_save_failures", help, &labels);
        let clients = cx.telemetry().gauge("dashboard_clients", "Connected clients", &labels);
        let bounds = Bounds { agents: config.agents, forget_after: config.forget_after.get() };
        let state = State::new(bounds, opened.saved);
        let saver = Saver { state: state.clone(), store: opened.store, failures };
        let (endpoint, shutdown) = (server.endpoint(), CancellationToken::new());
        let setup = Setup {
            feed: config.ws_url,
            secure: config.tls.is_some(),
            queue: usize::try_from(config.queue.get()).unwrap_or(usize::MAX),
            clients,
            shutdown: shutdown.clone(),
        };
        let site = Arc::new(Site::new(setup, state.clone(), opened.access));
        Self { state, saver, endpoint, shutdown, bound: Some((server, site)), serving: None }
    }
}

/// Serves until it is told to stop.
async fn serve(server: Server, site: Arc<Site>, saver: Saver, shutdown: CancellationToken) {
    let answer = service_fn(move |request| {
        let site = site.clone();
        async move { Ok::<_, Infallible>(site.answer(request).await) }
    });
    tokio::select! {
        () = server.serve(answer, shutdown) => {}
        () = saver.run() => {}
    }
}

#[async_trait]
impl Receiver for Dashboard {
    async fn start(&mut self, _: ReceiverContext) -> Result<(), DeliveryError> {
        if let Some((server, site)) = self.bound.take() {
            let work = serve(server, site, self.saver.clone(), self.shutdown.clone());
            self.serving = Some(Serving::begin(work));
        }
        Ok(())
    }

    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        // All are read before any is shown, so that a batch that is delivered again is shown once.
        let readings = read_all(batch)?;
        for (message, reading) in batch.iter().zip(readings) {
            self.state.metric(message, reading);
        }
        self.saver.save(false).await;
        Ok(())
    }

    async fn handle_inactive(&mut self, agents: &[Activity]) -> Result<(), DeliveryError> {
        self.state.inactive(agents);
        self.saver.save(false).await;
        Ok(())
    }

    async fn handle_active(&mut self, agents: &[Activity]) -> Result<(), DeliveryError> {
        self.state.active(agents);
        self.saver.save(false).await;
        Ok(())
    }

    async fn terminate(&mut self) {
        self.shutdown.cancel();
        if let Some(serving) = &mut self.serving {
            serving.ended().await;
        }
        self.saver.save(true).await;
    }

    fn endpoints(&self) -> Vec<String> {
        vec![self.endpoint.clone()]
    }
}

fn read_all(batch: &[Message]) -> Result<Vec<Reading<'_>>, DeliveryError> {
    let mut readings = Vec::with_capacity(batch.len());
    let mut unreadable = Vec::new();
    let mut cause = None;
    for (index, message) in batch.iter().enumerate() {
        match read(message) {
            Ok(reading) => readings.push(reading),
            Err(error) => {
                unreadable.push(index);
                cause.get_or_insert(error);
            }
        }
    }
    match cause {
        Some(error) => Err(DeliveryError::permanent_for(unreadable, error)),
        None => Ok(readings),
    }
}
