#![doc = include_str!("../README.md")]

mod contract;
mod cut;
mod faults;
mod handler_contract;
mod host;
mod recording;
mod samples;

pub use contract::receiver_contract;
pub use faults::{Fault, Faults, FaultyReceiver, Step};
pub use handler_contract::handler_contract;
pub use host::{METRICS, TestHost};
pub use poa_core::{handler_factory, receiver_factory};
pub use recording::{Record, Recording, RecordingReceiver};
pub use samples::Samples;
