//! The engines, each made once for a handler and the receivers that share it.

use std::sync::{Arc, OnceLock};

use poa_core::config::{Problem, Secret};
use poa_core::{BuildContext, BuildError};
use poa_gilmour::{Engine, MemoryEngine, Options};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The carrier of requests and signals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum EngineKind {
    /// This server itself; the gateway and the receivers of one host share it.
    #[default]
    Memory,
    /// A Redis server, with peers in Go, Ruby and Java.
    Redis,
}

/// The settings of an engine.
#[derive(Clone, Debug)]
pub(crate) struct EngineSettings {
    pub(crate) kind: EngineKind,
    pub(crate) url: Option<Secret>,
    pub(crate) options: Options,
}

impl EngineSettings {
    pub(crate) fn problems(&self) -> Vec<Problem> {
        match (self.kind, &self.url) {
            (EngineKind::Redis, None) => {
                vec![Problem::new(
                    "url",
                    "is needed with engine = \"redis\"; write one such as \"redis://127.0.0.1:6379\"",
                )]
            }
            (EngineKind::Redis, Some(url)) => redis(url.expose(), self.options)
                .err()
                .map(|why| Problem::new("url", why))
                .into_iter()
                .collect(),
            (EngineKind::Memory, _) => Vec::new(),
        }
    }

    /// The engine of a gateway, which decides its options. It connects when it is first used.
    pub(crate) fn engine(&self, cx: &BuildContext) -> Result<Shared, BuildError> {
        let shared = self.shared(cx)?;
        if let Shared::OfHost(memory) = &shared {
            memory.get(self.options);
        }
        Ok(shared)
    }

    /// The engine of a receiver.
    pub(crate) fn shared(&self, cx: &BuildContext) -> Result<Shared, BuildError> {
        match (self.kind, &self.url) {
            (EngineKind::Memory, _) => Ok(Shared::OfHost(memory_of_host(cx))),
            (EngineKind::Redis, url) => {
                let url = url.as_ref().map_or("", Secret::expose);
                redis(url, self.options).map(Shared::Own).map_err(BuildError::failed)
            }
        }
    }
}

/// An engine of one's own, or the one that all plugins of a host share.
#[derive(Debug)]
pub(crate) enum Shared {
    Own(Arc<dyn Engine>),
    OfHost(Arc<HostMemory>),
}

impl Shared {
    /// The engine. A gateway of the host, which is built before anything is used, has made the shared one by its own options.
    pub(crate) fn get(&self) -> Arc<dyn Engine> {
        match self {
            Self::Own(engine) => engine.clone(),
            Self::OfHost(memory) => memory.get(Options::default()),
        }
    }
}

/// The memory engine of a host, made by the first plugin that needs it.
#[derive(Debug, Default)]
pub(crate) struct HostMemory(OnceLock<Arc<MemoryEngine>>);

impl HostMemory {
    fn get(&self, options: Options) -> Arc<dyn Engine> {
        self.0.get_or_init(|| Arc::new(MemoryEngine::new(options))).clone()
    }
}

fn memory_of_host(cx: &BuildContext) -> Arc<HostMemory> {
    cx.shared(HostMemory::default)
}

#[cfg(feature = "redis")]
fn redis(url: &str, options: Options) -> Result<Arc<dyn Engine>, String> {
    match poa_gilmour::RedisEngine::new(url, options) {
        Ok(engine) => Ok(Arc::new(engine)),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(not(feature = "redis"))]
fn redis(_: &str, _: Options) -> Result<Arc<dyn Engine>, String> {
    Err("engine = \"redis\" is not compiled in; build with the feature `redis`".to_owned())
}
