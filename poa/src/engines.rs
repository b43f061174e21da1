//! Engines, each behind the feature of its kind.

#[cfg(feature = "log")]
pub use poa_engine_local::{Log, LogConfig};
#[cfg(feature = "memory")]
pub use poa_engine_local::{Memory, MemoryConfig};
#[cfg(feature = "nats")]
pub use poa_engine_nats::{Config as NatsConfig, Nats, Synced as NatsSynced, Tls as NatsTls};
