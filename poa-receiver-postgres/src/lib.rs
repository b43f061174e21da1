#![doc = include_str!("../README.md")]

mod activity;
mod config;
mod connection;
mod divide;
mod encode;
mod error;
mod link;
mod location;
mod migrations;
mod partition;
mod passfile;
mod receiver;
mod refusals;
mod session;
mod table;
mod tidying;
mod tls;

pub use config::Config;
pub use divide::{DivideError, divide};
pub use partition::Period;
pub use receiver::Postgres;
