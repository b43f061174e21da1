#![doc = include_str!("../README.md")]

mod access;
mod answer;
mod config;
mod conversation;
mod events;
mod handler;
mod monitor;
mod page;
mod route;
mod service;

pub use config::{Config, ExecutorKind, ResolverKind};
pub use handler::Networks;
