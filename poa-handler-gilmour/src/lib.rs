#![doc = include_str!("../README.md")]

mod api;
mod bus;
mod caller;
mod config;
mod definition;
mod engine;
mod exchange;
mod gateway;
mod handler;
mod metrics;
mod node;
mod page;
mod receiver;
mod store;
mod traffic;
mod watch;

pub use config::{
    AgentSource, CompositionAnswer, Config, Errors, NodeLimits, SignalRule, SlotGroups,
};
pub use engine::EngineKind;
pub use handler::GilmourGateway;
pub use receiver::{GilmourReceiver, Mode, ReceiverConfig};
