#![doc = include_str!("../README.md")]

mod access;
mod config;
mod conversation;
mod handler;
mod metrics;
mod presence;
mod service;
mod take;
mod unanswered;

pub use config::Config;
pub use handler::Ws;
