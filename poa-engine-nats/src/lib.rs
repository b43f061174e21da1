#![doc = include_str!("../README.md")]

mod admin;
mod bucket;
mod cluster;
mod config;
mod connect;
mod contact;
mod cursor;
mod deliveries;
mod engine;
mod failure;
mod held;
mod import;
mod janitor;
mod layout;
mod lease;
mod mirror;
mod names;
mod node;
mod pack;
mod prove;
mod publish;
mod reader;
mod registration;
mod store;
mod subscription;
mod trying;

pub use admin::{Admin, ReceiverState, StreamStatus};
pub use config::{Config, Synced, Tls};
pub use engine::Nats;
pub use import::Import;
