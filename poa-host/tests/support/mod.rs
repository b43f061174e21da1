//! A handler and a receiver to configure.

#![allow(dead_code, reason = "each test binary uses its part")]

pub(crate) mod served;

use std::net::SocketAddr;

use poa_core::config::{Duration, Problem, Secret, Size};
use poa_core::{
    BuildContext, BuildError, CustomHandler, DeliveryError, HandlerContext, Message, Plugin,
    PluginError, Receiver, Registry, async_trait,
};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::net::TcpListener;

/// A registry of the kinds below.
pub(crate) fn registry() -> Registry {
    Registry::new()
        .engine::<poa_engine_local::Log>("log")
        .engine::<poa_engine_local::Memory>("memory")
        .handler::<Ear>("ear")
        .handler::<Mute>("mute")
        .handler::<Never>("never")
        .receiver::<Crate>("box")
}

/// Listens, and delays its stop until the gate in its directory is gone.
#[derive(Debug)]
pub(crate) struct Ear {
    listener: TcpListener,
    gate: Option<std::path::PathBuf>,
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EarConfig {
    /// Address and port.
    #[schemars(example = "127.0.0.1:4002")]
    listen: SocketAddr,
    /// The longest body.
    #[serde(default = "body_limit")]
    body_limit: Size,
    /// The time limit of a request.
    #[serde(default = "timeout")]
    timeout: Duration,
    /// A certificate and its key, or "self-signed".
    #[serde(default)]
    tls: Option<Tls>,
    /// Known to friends.
    #[serde(default)]
    password: Option<Secret>,
    /// Delays the stop while this file exists.
    #[serde(default)]
    gate: Option<std::path::PathBuf>,
    /// How many.
    #[serde(default)]
    #[schemars(range(min = 1, max = 64))]
    workers: Option<u16>,
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Tls {
    Word(TlsWord),
    Files(TlsFiles),
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TlsWord {
    SelfSigned,
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsFiles {
    /// The certificate.
    cert: String,
    /// Its key.
    key: String,
}

const fn body_limit() -> Size {
    Size::bytes(8_000_000)
}

const fn timeout() -> Duration {
    Duration::from_secs(30)
}

#[async_trait]
impl Plugin for Ear {
    type Config = EarConfig;

    fn validate(config: &EarConfig) -> Vec<Problem> {
        let public = !config.listen.ip().is_loopback() && config.tls.is_none();
        public
            .then(|| Problem::new("listen", "plain HTTP is possible on loopback only; set `tls`"))
            .into_iter()
            .collect()
    }

    async fn build(config: EarConfig, _: &BuildContext) -> Result<Self, BuildError> {
        let listener = TcpListener::bind(config.listen).await.map_err(|error| {
            BuildError::failed(format!("cannot listen on {}", config.listen)).with_source(error)
        })?;
        Ok(Self { listener, gate: config.gate })
    }
}

#[async_trait]
impl CustomHandler for Ear {
    async fn run(&mut self, cx: HandlerContext) -> Result<(), PluginError> {
        cx.shutdown().cancelled().await;
        // The test that created a gate there opens a connection to let the stop continue.
        if self.gate.is_some() {
            let _ = self.listener.accept().await;
        }
        Ok(())
    }

    fn endpoints(&self) -> Vec<String> {
        self.listener.local_addr().iter().map(|address| format!("tcp://{address}")).collect()
    }
}

/// A handler that does nothing and needs nothing.
#[derive(Debug)]
pub(crate) struct Mute;

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoConfig {}

#[async_trait]
impl Plugin for Mute {
    type Config = NoConfig;

    async fn build(_: NoConfig, _: &BuildContext) -> Result<Self, BuildError> {
        Ok(Self)
    }
}

#[async_trait]
impl CustomHandler for Mute {
    async fn run(&mut self, cx: HandlerContext) -> Result<(), PluginError> {
        cx.shutdown().cancelled().await;
        Ok(())
    }
}

/// A handler that is never built.
#[derive(Debug)]
pub(crate) struct Never;

#[async_trait]
impl Plugin for Never {
    type Config = NoConfig;

    async fn build(_: NoConfig, _: &BuildContext) -> Result<Self, BuildError> {
        std::future::pending().await
    }
}

#[async_trait]
impl CustomHandler for Never {
    async fn run(&mut self, _: HandlerContext) -> Result<(), PluginError> {
        Ok(())
    }
}

/// A receiver that confirms everything.
#[derive(Debug)]
pub(crate) struct Crate {
    hang: bool,
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CrateConfig {
    /// The file.
    path: String,
    /// Never returns from a call with a message.
    #[serde(default)]
    hang: bool,
    /// Cannot be built without this file.
    #[serde(default)]
    needs: Option<std::path::PathBuf>,
}

#[async_trait]
impl Plugin for Crate {
    type Config = CrateConfig;

    async fn build(config: CrateConfig, _: &BuildContext) -> Result<Self, BuildError> {
        if config.needs.is_some_and(|file| !file.exists()) {
            return Err(BuildError::failed("the file that it needs is missing"));
        }
        Ok(Self { hang: config.hang })
    }
}

#[async_trait]
impl Receiver for Crate {
    async fn metrics_received(&mut self, _: &[Message]) -> Result<(), DeliveryError> {
        if self.hang {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}
