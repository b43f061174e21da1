#![doc = include_str!("../README.md")]

pub mod activity;
mod assigns;
pub mod auth;
mod backlog;
mod budget;
mod bus;
mod closures;
pub mod config;
mod data_type;
mod dead_letter;
mod delivery;
pub mod engine;
mod error;
mod extensions;
pub mod files;
mod handler;
mod host;
mod id;
mod idempotency;
mod message;
mod observer;
mod payload;
mod plugin;
mod publication;
mod rates;
mod receiver;
mod registry;
mod relay;
mod restart;
mod shared;
pub mod status;
mod supervise;
pub mod telemetry;
mod timestamp;

// Messages and their parts.
pub use assigns::{Assigns, AssignsTooLarge, InvalidAssigns};
pub use data_type::{DataType, DataTypes, InvalidDataType};
pub use extensions::Extensions;
pub use id::{AgentId, InvalidAgentId, MessageId};
pub use idempotency::{IdempotencyKey, InvalidKey};
pub use message::{Draft, Message, MessageType};
pub use payload::{Format, Payload, PayloadError};
pub use timestamp::Timestamp;

// For authors of handlers, receivers and engines.
pub use budget::{MemoryBudget, Reservation};
pub use dead_letter::{DeadLetter, DeadLetters};
pub use engine::{Receipt, ReceiptError, Refused, SendError};
pub use error::{chain as error_chain, panic_message};
pub use handler::{CustomHandler, HandlerContext};
pub use plugin::{
    BoxError, BuildContext, BuildError, Building, EngineFactory, Factory, HandlerFactory, Plugin,
    PluginError, ReceiverFactory, engine_factory, handler_factory, receiver_factory,
};
pub use receiver::{Activity, ControlMessage, DeliveryError, Receiver, ReceiverContext, Rejected};
pub use relay::{Relay, Relayed, Sign};

/// Re-exported so that a plugin implements the traits with the same version of the macro.
pub use async_trait::async_trait;

// For embedders and hosts.
pub use backlog::{Backlog, BatchLimits, WhenFull};
pub use closures::{handler_fn, receiver_fn};
pub use host::{
    Ack, ChangeError, Host, HostBuilder, HostHandle, ReadFrom, ReceiverOptions, ReplayError, Scope,
    StartError, StopReport,
};
pub use observer::{Acknowledgement, Attempt, Observer, SenderSpan};
pub use rates::{Rate, Rates};
pub use registry::{DuplicateKind, EngineKind, HandlerKind, Kind, Kinds, ReceiverKind, Registry};
pub use restart::Retry;
