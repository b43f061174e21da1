#![doc = include_str!("../README.md")]

mod child;
mod config;
mod error;
mod frame;
mod group;
mod handler;
mod lines;
mod receiver;
mod stderr;
mod take;

pub use config::{Config, Options};
pub use handler::ExecHandler;
pub use receiver::ExecReceiver;
