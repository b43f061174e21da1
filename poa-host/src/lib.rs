#![doc = include_str!("../README.md")]

mod about;
mod admin;
mod apply;
mod config;
mod error;
mod graph;
pub mod logging;
mod outcome;
mod plan;
mod plugins;
mod reference;
mod reload;
mod replace;
mod running;
mod schema;
mod server;
mod signal;
mod source;
mod tap;

pub use about::About;
pub use admin::ADMIN_TOKEN_FILE;
pub use config::{CheckOptions, Checked, Config, Located, Outline, Position, Problems};
pub use error::{Chain, ServerError};
pub use graph::GraphFormat;
pub use outcome::Outcome;
pub use plan::{Change, Plan, Step};
pub use plugins::Kinds;
pub use poa_plugin::host::{Info, KindInfo, Library, LoadError, Role, inspect};
pub use reference::reference;
pub use reload::{ReloadResult, Reloaded};
pub use schema::schema;
pub use server::{ADMIN_ENDPOINT_FILE, Launch, Server, run};
pub use signal::{Signal, signals, told_to_stop};
pub use source::Source;
