//! The host's side: finds, checks and loads plugins, and calls them.

mod batch;
mod border;
mod build;
mod call_table;
mod descriptor;
mod error;
mod functions;
mod handler;
mod image;
mod instance;
mod library;
mod loaded_kind;
mod outcome;
mod receiver;
mod sending;
mod served;
mod started;
mod thread_pool;

pub use error::LoadError;
pub use library::{Info, KindInfo, Library, Role, inspect};
pub use thread_pool::settled;
