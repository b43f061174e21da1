#![doc = include_str!("../README.md")]

mod admin;
mod config;
mod error;
mod outcome;
mod plugins;
mod reference;
mod running;
mod schema;
mod server;
mod signal;
mod source;

pub use config::{Config, Located, Position, Problems};
pub use error::{Chain, ServerError};
pub use outcome::Outcome;
pub use plugins::Kinds;
pub use poa_plugin::host::{Info, KindInfo, Library, LoadError, Role, inspect};
pub use reference::reference;
pub use schema::schema;
pub use server::{Server, run};
pub use signal::{Signal, signals, told_to_stop};
pub use source::Source;
