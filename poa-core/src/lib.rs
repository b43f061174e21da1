#![doc = include_str!("../README.md")]

pub mod activity;
pub mod auth;
mod budget;
mod bus;
pub mod config;
mod data_type;
mod dead_letter;
mod delivery;
mod extensions;
mod handler;
mod host;
mod id;
mod idempotency;
mod message;
mod payload;
mod plugin;
mod receiver;
mod registry;
mod relay;
mod restart;
pub mod status;
mod supervise;
pub mod telemetry;
mod timestamp;

pub use budget::{MemoryBudget, Reservation};
pub use bus::{
    Backlog, BatchLimits, KeyWindow, LogOpenError, Receipt, ReceiptError, Refused, WhenFull,
    left_behind,
};
pub use data_type::{DataType, DataTypes, InvalidDataType};
pub use dead_letter::{DeadLetter, DeadLetters};
pub use extensions::Extensions;
pub use handler::{CustomHandler, HandlerContext};
pub use host::{
    Ack, Engine, Host, HostBuilder, HostHandle, ReadFrom, ReceiverOptions, ReplayError, StartError,
    StopReport,
};
pub use id::{AgentId, InvalidAgentId, MessageId};
pub use idempotency::{IdempotencyKey, InvalidKey};
pub use message::{Draft, Message, MessageType};
pub use payload::{Format, Payload, PayloadError};
pub use plugin::{
    BoxError, BuildContext, BuildError, HandlerFactory, HandlerPlugin, PluginError,
    ReceiverFactory, ReceiverPlugin,
};
pub use receiver::{Activity, ControlMessage, DeliveryError, Receiver};
pub use registry::{DuplicateKind, HandlerKind, ReceiverKind, Registry};
pub use relay::{Relay, Relayed, Sign};
pub use restart::{RestartPolicy, Retry};
pub use timestamp::Timestamp;

/// Re-exported so that a plugin implements the traits with the same version of the macro.
pub use async_trait::async_trait;
