#![doc = include_str!("../README.md")]

mod client;
mod config;
mod error;
mod host_id;
mod item;
mod number;
mod receiver;
mod table;
mod value;
mod writer;

pub use config::Config;
pub use receiver::DynamoDb;
