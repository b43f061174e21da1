#![doc = include_str!("../README.md")]

mod contract;
mod cut;
mod faults;
mod handler_contract;
mod host;
mod recording;
mod samples;

use std::sync::Arc;

use poa_core::{
    CustomHandler, HandlerFactory, HandlerPlugin, Receiver, ReceiverFactory, ReceiverPlugin,
};

pub use contract::receiver_contract;
pub use faults::{Fault, Faults, FaultyReceiver, Step};
pub use handler_contract::handler_contract;
pub use host::{METRICS, TestHost};
pub use recording::{Record, Recording, RecordingReceiver};
pub use samples::Samples;

/// A factory of receivers of this type, all with this configuration.
pub fn factory<P: ReceiverPlugin>(config: P::Config) -> ReceiverFactory {
    Arc::new(move |cx| {
        let config = config.clone();
        Box::pin(async move { Ok(Box::new(P::build(config, cx).await?) as Box<dyn Receiver>) })
    })
}

/// A factory of handlers of this type, all with this configuration.
pub fn handler_factory<P: HandlerPlugin>(config: P::Config) -> HandlerFactory {
    Arc::new(move |cx| {
        let config = config.clone();
        Box::pin(async move { Ok(Box::new(P::build(config, cx).await?) as Box<dyn CustomHandler>) })
    })
}
