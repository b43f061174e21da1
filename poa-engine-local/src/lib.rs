#![doc = include_str!("../README.md")]

mod bounds;
mod commit;
mod confirmations;
mod cursors;
mod disk;
mod fair;
mod handle;
mod keys;
mod load;
mod local;
mod log;
mod memory;
mod opening;
mod pending;
mod promise;
mod records;
mod settling;
mod shed;
mod state;
mod subscriber;
mod tail;

pub use cursors::left_behind;
pub use log::{Log, LogConfig};
pub use memory::{Memory, MemoryConfig};

#[cfg(test)]
mod tests;
