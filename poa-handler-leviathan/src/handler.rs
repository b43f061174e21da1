use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hyper::service::service_fn;
use poa_core::config::Problem;
use poa_core::{
    BuildContext, BuildError, CustomHandler, DataType, DataTypes, HandlerContext, Plugin,
    PluginError,
};
use poa_http::Server;
use poa_leviathan::docker::Docker;
use poa_leviathan::executor::{Claim, Executor, Netlink, Preflight, Recorder};
use poa_leviathan::resolver::{NamedNamespaces, Resolver};
use poa_leviathan::store::SqliteStore;
use poa_leviathan::{Leviathan, Options};
use tokio::sync::oneshot;

use crate::access::Access;
use crate::config::{Config, ExecutorKind, ResolverKind};
use crate::events::{Teller, Told};
use crate::page::Page;
use crate::service::Service;

/// How long operations under way get when the host stops.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long a predecessor may take to let go of the host.
const HANDOVER: Duration = Duration::from_secs(10);

/// Container networks over REST, and a monitor over WebSocket.
#[derive(Debug)]
pub struct Networks {
    server: Option<Server>,
    endpoint: String,
    config: Config,
    file: PathBuf,
}

#[async_trait]
impl Plugin for Networks {
    type Config = Config;

    fn validate(config: &Config) -> Vec<Problem> {
        config.problems()
    }

    async fn build(config: Config, cx: &BuildContext) -> Result<Self, BuildError> {
        // An embedder's configuration has not been through `validate`.
        if let Some(problem) = config.problems().first() {
            return Err(BuildError::failed(problem.to_string()));
        }
        // Outside of a host there are none.
        if let Some(name) = config.events.as_deref().filter(|_| cx.data_types().iter().count() > 0)
        {
            let known = event_type(name, cx.data_types());
            known.map_err(BuildError::failed)?;
        }
        if config.executor == ExecutorKind::Netlink {
            let preflight = Preflight::look();
            preflight
                .require_capabilities()
                .map_err(|error| BuildError::failed(error.to_string()))?;
            for warning in preflight.warnings() {
                tracing::warn!(handler = cx.name(), "{warning}");
            }
        }
        let file = cx.data_dir().join(&config.path);
        check_store(file.clone()).await?;
        let server = Server::bind(config.listen.clone(), config.tls.as_ref(), config.limits, cx)?;
        let endpoint = server.endpoint();
        Ok(Self { server: Some(server), endpoint, config, file })
    }
}

fn event_type(name: &str, types: &DataTypes) -> Result<DataType, String> {
    let unknown = || format!("events: `{name}` is not a data type; add it to `metrics`");
    types.get(name).cloned().ok_or_else(unknown)
}

/// Finds out early whether the file can be used. What it holds is read when the handler runs: a predecessor may still write.
async fn check_store(file: PathBuf) -> Result<(), BuildError> {
    let opened = tokio::task::spawn_blocking(move || SqliteStore::open(&file).map(drop)).await;
    let opened = opened.map_err(|error| BuildError::failed("a thread ended").with_source(error))?;
    opened.map_err(|error| BuildError::failed(error.to_string()))
}

#[async_trait]
impl CustomHandler for Networks {
    async fn run(&mut self, cx: HandlerContext) -> Result<(), PluginError> {
        let server = self.server.take().ok_or_else(|| PluginError::new("cannot run twice"))?;
        let _claim = self.claim().await?;
        let docker = self.docker();
        let (leviathan, recorder) = self.open(docker.clone()).await?;
        let (teller, told) = self.teller(&cx, &leviathan)?.unzip();
        let access = Access::new(self.config.token.as_ref());
        let shutdown = cx.shutdown().clone();
        let service = Service {
            cx,
            leviathan: leviathan.clone(),
            access,
            recorder,
            told,
            docker: docker.clone(),
            page: Page::new(),
        };
        let service = Arc::new(service);
        let answer = service_fn(move |request| {
            let service = service.clone();
            async move { Ok::<_, Infallible>(service.answer(request).await) }
        });
        let (ended, end) = oneshot::channel::<()>();
        let serving = async {
            server.serve(answer, shutdown).await;
            drop(ended);
        };
        let keeping = async {
            let running = leviathan.run().await;
            let _ = end.await;
            running.close(FAREWELL).await;
        };
        let telling = async {
            match teller {
                Some(teller) => teller.run().await,
                None => std::future::pending().await,
            }
        };
        let following = async {
            match &docker {
                Some(docker) => docker.follow(leviathan.clone()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = async { tokio::join!(serving, keeping) } => {}
            () = telling => {}
            () = following => {}
        }
        Ok(())
    }

    fn endpoints(&self) -> Vec<String> {
        vec![self.endpoint.clone()]
    }
}

impl Networks {
    /// Two that change one host would undo each other's work.
    async fn claim(&self) -> Result<Option<Claim>, PluginError> {
        if self.config.executor == ExecutorKind::Record {
            return Ok(None);
        }
        let claim = Claim::wait(HANDOVER).await;
        claim.map(Some).map_err(|error| PluginError::new(error.to_string()))
    }

    fn teller(
        &self,
        cx: &HandlerContext,
        leviathan: &Leviathan,
    ) -> Result<Option<(Teller, Told)>, PluginError> {
        let Some(name) = &self.config.events else { return Ok(None) };
        let data_type = event_type(name, cx.data_types()).map_err(PluginError::new)?;
        Ok(Some(Teller::new(cx.clone(), leviathan.clone(), data_type)))
    }

    fn docker(&self) -> Option<Arc<Docker>> {
        let config = &self.config;
        // An operation that asks Docker more than once should fail by what Docker does, not by its own deadline.
        let deadline = config.deadline.get() / 3;
        let docker = || Arc::new(Docker::new(&config.docker_socket, deadline));
        (config.resolver == ResolverKind::Docker).then(docker)
    }

    async fn open(
        &self,
        docker: Option<Arc<Docker>>,
    ) -> Result<(Leviathan, Option<Recorder>), PluginError> {
        let config = &self.config;
        let options = Options {
            host: config.host.clone(),
            wiring: config.wiring,
            deadline: config.deadline.get(),
            interval: config.interval.get(),
            keep_events: config.events.is_some(),
            pool_cins: config.cpool_cins,
        };
        let (executor, recorder): (Arc<dyn Executor>, _) = match config.executor {
            ExecutorKind::Record => {
                let recorder = Recorder::new(&config.host);
                (Arc::new(recorder.clone()), Some(recorder))
            }
            ExecutorKind::Netlink => {
                let resolver: Arc<dyn Resolver> = match docker.clone() {
                    Some(docker) => docker,
                    None => Arc::new(NamedNamespaces::new(&config.netns_dir)),
                };
                (Arc::new(Netlink::new(&config.host, resolver)), None)
            }
        };
        let file = self.file.clone();
        let open = move || {
            let store = SqliteStore::open(&file)?;
            Leviathan::open(options, executor, Box::new(store))
        };
        let opened = tokio::task::spawn_blocking(open).await;
        let opened =
            opened.map_err(|error| PluginError::new("a thread ended").with_source(error))?;
        let leviathan = opened.map_err(|error| PluginError::new(error.to_string()))?;
        let leviathan = match docker {
            Some(docker) => leviathan.with_containers(docker),
            None => leviathan,
        };
        Ok((leviathan, recorder))
    }
}
