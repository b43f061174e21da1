#![doc = include_str!("../README.md")]

mod contract;
mod cut;
mod engine_contract;
mod faults;
mod handler_contract;
mod host;
mod recording;
mod samples;
mod tasks;

pub use contract::{ReceiverContract, receiver_contract};
pub use engine_contract::{EngineContract, Storage};
pub use faults::{Fault, Faults, FaultyReceiver, Step};
pub use handler_contract::{HandlerContract, handler_contract};
pub use host::{METRICS, TestHost};
pub use poa_core::{engine_factory, handler_factory, receiver_factory};
pub use recording::{Record, Recording, RecordingReceiver};
pub use samples::Samples;
