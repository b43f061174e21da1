#![doc = include_str!("../README.md")]

mod activity;
mod config;
mod connection;
mod encode;
mod error;
mod location;
mod migrations;
mod partition;
mod receiver;
mod refusals;
mod session;
mod table;
mod tls;

pub use config::Config;
pub use partition::Period;
pub use receiver::Postgres;
