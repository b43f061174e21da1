//! Engines, each behind the feature of its kind.

#[cfg(feature = "log")]
pub use poa_engine_local::{Log, LogConfig};
#[cfg(feature = "memory")]
pub use poa_engine_local::{Memory, MemoryConfig};
