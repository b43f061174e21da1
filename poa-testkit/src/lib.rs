#![doc = include_str!("../README.md")]

mod contract;
mod faults;
mod host;
mod recording;
mod samples;

use std::sync::Arc;

use poa_core::{Receiver, ReceiverFactory, ReceiverPlugin};

pub use contract::receiver_contract;
pub use faults::{Fault, Faults, FaultyReceiver, Step};
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
