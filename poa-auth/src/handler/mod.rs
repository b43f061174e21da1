//! The endpoints of protocol section 3.

mod answer;
mod api;
mod credentials;
mod route;

use std::convert::Infallible;
use std::future::pending;

use hyper::service::service_fn;
use poa_core::config::Problem;
use poa_core::{
    BuildContext, BuildError, CustomHandler, HandlerContext, Plugin, PluginError, async_trait,
};
use poa_http::{Limits, Listen, Server, Tls};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Auth;
use api::Api;

/// The section of a handler of kind `auth`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct AuthHandlerConfig {
    /// Address and port, such as `127.0.0.1:4003`, `localhost:4003` or `:4003` for all addresses. Any other than loopback needs
    /// `tls`.
    pub listen: Listen,
    /// The certificate. Without one, the handler serves plain HTTP, on a loopback address only.
    pub tls: Option<Tls>,
    /// Limits of this listener.
    pub limits: Limits,
}

impl Default for AuthHandlerConfig {
    fn default() -> Self {
        Self { listen: Listen::from(([127, 0, 0, 1], 4003)), tls: None, limits: Limits::default() }
    }
}

/// Lets users get tokens, and admins manage users, over HTTP (protocol section 3). Its kind is `auth`.
///
/// It needs an [`Auth`] among the resources of its host: `HostBuilder::resource(auth.clone())`. While it runs, it also
/// [watches](Auth::watch) for changes made by other processes.
#[derive(Debug)]
pub struct AuthHandler {
    auth: Auth,
    endpoint: String,
    /// `None` once it runs.
    server: Option<Server>,
}

#[async_trait]
impl Plugin for AuthHandler {
    type Config = AuthHandlerConfig;

    fn validate(config: &Self::Config) -> Vec<Problem> {
        let limits = config.limits.validate();
        let mut problems: Vec<_> =
            limits.into_iter().map(|problem| problem.under("limits")).collect();
        if config.tls.is_none() && !config.listen.is_loopback() {
            let message = format!(
                "passwords would cross the network in the clear from {}; set `tls`, such as tls = \"self-signed\", or listen on 127.0.0.1",
                config.listen
            );
            problems.push(Problem::new("listen", message));
        }
        problems
    }

    async fn build(config: Self::Config, cx: &BuildContext) -> Result<Self, BuildError> {
        let auth = cx.resource::<Auth>().ok_or_else(|| {
            BuildError::failed(
                "there is no `poa_auth::Auth` among the resources of this host; give it one with `HostBuilder::resource`",
            )
        })?;
        if let Some(problem) = Self::validate(&config).first() {
            return Err(BuildError::failed(problem.to_string()));
        }
        auth.observe(cx.telemetry());
        let server = Server::bind(config.listen.clone(), config.tls.as_ref(), config.limits, cx)?;
        let endpoint = server.endpoint();
        if config.tls.is_none() {
            tracing::warn!(
                handler = cx.name(),
                "{endpoint} accepts passwords over plain HTTP, from this machine only; set `tls` to serve others"
            );
        }
        Ok(Self { auth: auth.clone(), endpoint, server: Some(server) })
    }
}

#[async_trait]
impl CustomHandler for AuthHandler {
    async fn run(&mut self, cx: HandlerContext) -> Result<(), PluginError> {
        let server = self.server.take().ok_or_else(|| PluginError::new("cannot run twice"))?;
        let api = Api::new(self.auth.clone(), cx.memory().clone());
        let service = service_fn(move |request| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        let watch = async {
            self.auth.watch(cx.shutdown().clone()).await;
            // Requests are still in flight then.
            pending().await
        };
        tokio::select! {
            () = server.serve(service, cx.shutdown().clone()) => Ok(()),
            never = watch => never,
        }
    }

    fn endpoints(&self) -> Vec<String> {
        vec![self.endpoint.clone()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(listen: &str, tls: Option<Tls>) -> Vec<String> {
        let config =
            AuthHandlerConfig { listen: listen.parse().unwrap(), tls, ..Default::default() };
        AuthHandler::validate(&config).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn plain_http_stays_on_this_machine() {
        for fine in ["127.0.0.1:4003", "127.9.9.9:1", "[::1]:4003"] {
            assert!(problems(fine, None).is_empty());
        }
        for exposed in ["0.0.0.0:4003", "192.168.1.2:4003", "[::]:4003"] {
            let found = problems(exposed, None);
            assert!(
                found.len() == 1 && found[0].starts_with("listen: passwords would"),
                "{found:?}"
            );
            assert!(problems(exposed, Some(Tls::SelfSigned)).is_empty());
        }
    }

    #[test]
    fn the_default_address_is_that_of_the_protocol() {
        let config: AuthHandlerConfig = serde_json::from_str("{}").unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:4003");
        assert!(serde_json::from_str::<AuthHandlerConfig>(r#"{"lisen": "x"}"#).is_err());
    }

    #[tokio::test]
    async fn without_an_auth_the_error_names_the_cure() {
        let dir = tempfile::tempdir().unwrap();
        let cx = BuildContext::detached("auth", dir.path());
        let error = AuthHandler::build(AuthHandlerConfig::default(), &cx).await.unwrap_err();
        assert!(error.to_string().contains("HostBuilder::resource"), "{error}");
    }
}
