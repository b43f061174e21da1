//! The names that most programs need: `use poa::prelude::*;`.

pub use poa_core::{
    Ack, AgentId, BuildContext, BuildError, CustomHandler, DeliveryError, Draft, HandlerContext,
    Host, HostHandle, Message, Payload, Plugin, PluginError, Receiver, ReceiverOptions,
    async_trait,
};
