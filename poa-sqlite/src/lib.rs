#![doc = include_str!("../README.md")]

mod compact;
mod file;
mod watch;

pub use compact::{CompactError, Compacted, compact};
pub use file::create;
pub use watch::{Watch, leave};
