#![doc = include_str!("../README.md")]

mod answer;
mod config;
mod handler;
mod metrics;
mod service;
mod take;

pub use config::Config;
pub use handler::Rest;
