#![doc = include_str!("../README.md")]

pub mod delta;
#[cfg(all(feature = "docker", target_os = "linux"))]
pub mod docker;
pub mod document;
pub mod engine;
mod error;
pub mod event;
pub mod executor;
mod id;
pub mod model;
pub mod monitor;
pub mod name;
pub mod number;
pub mod operation;
pub mod plan;
pub mod render;
pub mod resolver;
pub mod seen;
pub mod store;
pub mod view;
pub mod wire;

pub use engine::{Leviathan, Options};
pub use error::{Code, Error};
pub use id::{CenId, CinId, ContainerId, MAX_INTERFACE_NAME};
pub use model::Model;
