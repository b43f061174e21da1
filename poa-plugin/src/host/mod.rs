//! The host's side: finds, checks and loads plugins, and calls them.

mod batch;
mod border;
mod build;
mod crew;
mod descriptor;
mod desk;
mod error;
mod functions;
mod handler;
mod image;
mod instance;
mod library;
mod outcome;
mod plug;
mod receiver;

pub use crew::settled;
pub use error::LoadError;
pub use library::{Info, KindInfo, Library, Role, inspect};
