use std::convert::Infallible;
use std::sync::Arc;

use hyper::service::service_fn;
use poa_core::config::Problem;
use poa_core::{
    BuildContext, BuildError, CustomHandler, HandlerContext, Plugin, PluginError, async_trait,
};
use poa_http::Server;

use crate::Config;
use crate::api::{Access, Api};
use crate::bus::{Bus, check};
use crate::definition::Definition;
use crate::engine::Shared;
use crate::gateway::Gateway;
use crate::metrics;
use crate::store::Store;

/// The Gilmour gateway: nodes in any language register over HTTP, serve requests and signals by topic, and send them.
#[derive(Debug)]
pub struct GilmourGateway {
    config: Config,
    engine: Shared,
    endpoint: String,
    parts: Option<Parts>,
}

/// The parts that `run` consumes.
#[derive(Debug)]
struct Parts {
    server: Server,
    store: Store,
    known: Vec<(String, Definition)>,
}

#[async_trait]
impl Plugin for GilmourGateway {
    type Config = Config;

    fn validate(config: &Config) -> Vec<Problem> {
        config.problems()
    }

    async fn build(config: Config, cx: &BuildContext) -> Result<Self, BuildError> {
        // An embedder's configuration has not been through `validate`.
        if let Some(problem) = config.problems().first() {
            return Err(BuildError::failed(problem.to_string()));
        }
        check(&config.signals, cx.data_types())?;
        let server =
            Server::bind(config.listen, config.tls.as_ref(), config.listener_limits(), cx)?;
        let path = cx.data_dir().join(&config.path);
        let opened = tokio::task::spawn_blocking(move || open(&path)).await;
        let opened = opened.map_err(|error| {
            BuildError::failed("cannot open the registered nodes").with_source(error)
        })?;
        let (store, known) = opened.map_err(BuildError::failed)?;
        let engine = config.engine_settings().engine(cx)?;
        let endpoint = server.endpoint();
        Ok(Self { config, engine, endpoint, parts: Some(Parts { server, store, known }) })
    }
}

/// Blocks.
fn open(path: &std::path::Path) -> Result<(Store, Vec<(String, Definition)>), String> {
    let store = Store::open(path).map_err(|error| error.to_string())?;
    let known = store.load().map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Ok((store, known))
}

/// Ends the tasks of a gateway with the run that it belongs to, however that ends.
struct Ending(Arc<Gateway>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end_now();
    }
}

#[async_trait]
impl CustomHandler for GilmourGateway {
    async fn run(&mut self, cx: HandlerContext) -> Result<(), PluginError> {
        let Parts { server, store, known } =
            self.parts.take().ok_or_else(|| PluginError::new("was run already"))?;
        let shutdown = cx.shutdown().clone();
        let bus = Bus::new(&self.config.signals, &cx).map_err(PluginError::new)?;
        let access = Access::new(self.config.token.clone());
        let gateway = Gateway::new(self.config.clone(), self.engine.get(), cx, store, bus);
        let _ending = Ending(gateway.clone());
        metrics::include(&gateway);
        gateway.start(known);
        let api = Arc::new(Api::new(gateway.clone(), access));
        let answer = service_fn(move |request| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        server.serve(answer, shutdown).await;
        gateway.end().await;
        Ok(())
    }

    fn endpoints(&self) -> Vec<String> {
        vec![self.endpoint.clone()]
    }
}
