#![doc = include_str!("../README.md")]

mod error;
mod log;
mod position;
mod reader;
mod record;
mod recovery;
mod segment;
pub mod storage;

pub use error::LogError;
pub use log::{Log, Options, Readers};
pub use position::Position;
pub use reader::{Entry, Reader};
pub use record::Group;
pub use recovery::Recovered;
pub use storage::{Directory, Storage};
