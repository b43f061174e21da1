//! The engines, each made once for a handler and the receivers that share it.

use std::sync::{Arc, OnceLock};

use poa_core::config::{Problem, Secret};
use poa_core::{BuildContext, BuildError};
use poa_gilmour::{Engine, InvalidTopic, MemoryEngine, Options, SlotTopic};
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
    /// NATS servers.
    Nats,
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
        match (self.kind.example(), &self.url) {
            (None, _) => Vec::new(),
            (Some(example), None) => {
                let name = self.kind.name();
                let text =
                    format!("is needed with engine = \"{name}\"; write one such as \"{example}\"");
                vec![Problem::new("url", text)]
            }
            (Some(_), Some(url)) => {
                let refused = self.kind.engine(url.expose(), self.options).err();
                refused.map(|why| Problem::new("url", why)).into_iter().collect()
            }
        }
    }

    /// The reason why the engine could not carry a slot of this topic in this group.
    pub(crate) fn refusal_of_slot(&self, topic: &SlotTopic, group: &str) -> Option<InvalidTopic> {
        match self.kind {
            EngineKind::Memory | EngineKind::Redis => None,
            EngineKind::Nats => nats_refusal_of_slot(topic, group),
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
        if self.kind == EngineKind::Memory {
            return Ok(Shared::OfHost(memory_of_host(cx)));
        }
        let url = self.url.as_ref().map_or("", Secret::expose);
        self.kind.engine(url, self.options).map(Shared::Own).map_err(BuildError::failed)
    }
}

impl EngineKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redis => "redis",
            Self::Nats => "nats",
        }
    }

    /// A URL of its broker, if it has one.
    const fn example(self) -> Option<&'static str> {
        match self {
            Self::Memory => None,
            Self::Redis => Some("redis://127.0.0.1:6379"),
            Self::Nats => Some("nats://127.0.0.1:4222"),
        }
    }

    /// An engine of one's own. It connects when it is first used.
    fn engine(self, url: &str, options: Options) -> Result<Arc<dyn Engine>, String> {
        match self {
            Self::Memory => Ok(Arc::new(MemoryEngine::new(options))),
            Self::Redis => redis(url, options),
            Self::Nats => nats(url, options),
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

#[cfg(feature = "nats")]
fn nats(urls: &str, options: Options) -> Result<Arc<dyn Engine>, String> {
    match poa_gilmour::NatsEngine::new(urls, options) {
        Ok(engine) => Ok(Arc::new(engine)),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(not(feature = "nats"))]
fn nats(_: &str, _: Options) -> Result<Arc<dyn Engine>, String> {
    Err("engine = \"nats\" is not compiled in; build with the feature `nats`".to_owned())
}

#[cfg(feature = "nats")]
fn nats_refusal_of_slot(topic: &SlotTopic, group: &str) -> Option<InvalidTopic> {
    use poa_gilmour::{Call, Data, Message, NatsEngine, Registration};

    let nothing = |_: Call| std::future::ready(Message::ok(Data::null()));
    NatsEngine::check(&Registration::slot(topic, nothing).group(group)).err()
}

#[cfg(not(feature = "nats"))]
fn nats_refusal_of_slot(_: &SlotTopic, _: &str) -> Option<InvalidTopic> {
    None
}
