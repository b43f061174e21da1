#![doc = include_str!("../README.md")]

mod client;
mod config;
mod encode;
mod export;
mod otlp;
mod record;
mod report;
mod sample;
mod service;
mod span;
mod traces;

pub use config::{Compression, Config};
pub use service::Service;
pub use traces::{StartError, Traces};
