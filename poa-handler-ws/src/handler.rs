use std::convert::Infallible;
use std::sync::Arc;

use async_trait::async_trait;
use hyper::service::service_fn;
use poa_core::config::Problem;
use poa_core::{BuildContext, BuildError, CustomHandler, HandlerContext, Plugin, PluginError};
use poa_http::Server;

use crate::Config;
use crate::service::Service;

/// The POA Protocol over WebSocket.
#[derive(Debug)]
pub struct Ws {
    server: Option<Server>,
    endpoint: String,
    config: Config,
}

#[async_trait]
impl Plugin for Ws {
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
        // `http` and `https` become `ws` and `wss`.
        let endpoint = format!("{}{}", server.endpoint().replacen("http", "ws", 1), config.path);
        Ok(Self { server: Some(server), endpoint, config })
    }
}

#[async_trait]
impl CustomHandler for Ws {
    async fn run(&mut self, cx: HandlerContext) -> Result<(), PluginError> {
        let authenticator = match (cx.authenticator(), self.config.anonymous) {
            (_, true) => None,
            (Some(authenticator), false) => Some(authenticator.clone()),
            (None, false) => return Err(PluginError::new(NO_AUTHENTICATOR)),
        };
        let server = self.server.take().ok_or_else(|| PluginError::new("cannot run twice"))?;
        let shutdown = cx.shutdown().clone();
        let service = Arc::new(Service::new(cx, authenticator, self.config.clone()));
        let answer = service_fn(move |request| {
            let answer = service.answer(request);
            async move { Ok::<_, Infallible>(answer) }
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
