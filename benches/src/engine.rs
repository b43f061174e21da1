//! The engines that are measured.

use poa_core::{EngineFactory, engine_factory};
use poa_engine_local::{Log, Memory};

/// An engine, by its name.
#[derive(Clone, Copy)]
pub(crate) enum Engine {
    Memory,
    Log,
}

impl Engine {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Log => "log",
        }
    }

    pub(crate) fn factory(self) -> EngineFactory {
        match self {
            Self::Memory => engine_factory::<Memory>(Default::default()),
            Self::Log => engine_factory::<Log>(Default::default()),
        }
    }
}
