use std::convert::Infallible;
use std::sync::Arc;

use async_trait::async_trait;
use hyper::service::service_fn;
use poa_core::config::Problem;
use poa_core::{BuildContext, BuildError, CustomHandler, HandlerContext, Plugin, PluginError};
use poa_http::Server;

use crate::Config;
use crate::service::Service;

/// The POA Protocol over REST: `POST /ping`, `POST /data`, `POST /bye`.
#[derive(Debug)]
pub struct Rest {
    server: Option<Server>,
    endpoint: String,
    anonymous: bool,
    max_items: usize,
}

#[async_trait]
impl Plugin for Rest {
    type Config = Config;

    fn validate(config: &Config) -> Vec<Problem> {
        config.problems()
    }

    async fn build(config: Config, cx: &BuildContext) -> Result<Self, BuildError> {
        // An embedder's configuration has not been validated.
        if let Some(problem) = config.problems().first() {
            return Err(BuildError::failed(problem.to_string()));
        }
        if !config.anonymous && !cx.has_authenticator() {
            return Err(BuildError::failed(NO_AUTHENTICATOR));
        }
        let server = Server::bind(config.listen.clone(), config.tls.as_ref(), config.limits, cx)?;
        let endpoint = server.endpoint();
        let Config { anonymous, max_items, .. } = config;
        Ok(Self { server: Some(server), endpoint, anonymous, max_items })
    }
}

#[async_trait]
impl CustomHandler for Rest {
    async fn run(&mut self, cx: HandlerContext) -> Result<(), PluginError> {
        let authenticator = match (cx.authenticator(), self.anonymous) {
            (_, true) => None,
            (Some(authenticator), false) => Some(authenticator.clone()),
            (None, false) => return Err(PluginError::new(NO_AUTHENTICATOR)),
        };
        let server = self.server.take().ok_or_else(|| PluginError::new("cannot run twice"))?;
        let shutdown = cx.shutdown().clone();
        let service = Arc::new(Service::new(cx, authenticator, self.max_items));
        let answer = service_fn(move |request| {
            let service = service.clone();
            async move { Ok::<_, Infallible>(service.answer(request).await) }
        });
        server.serve(answer, shutdown).await;
        Ok(())
    }

    fn endpoints(&self) -> Vec<String> {
        vec![self.endpoint.clone()]
    }
}

const NO_AUTHENTICATOR: &str = "there is no authenticator to check tokens: give the host one, \
    or set `anonymous = true` to accept messages without tokens, on loopback";
