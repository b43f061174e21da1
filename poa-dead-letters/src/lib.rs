#![doc = include_str!("../README.md")]

mod keep;
mod letter;
mod open;
mod replay;
mod store;

pub use letter::{Letter, Summary, Which};
pub use open::OpenError;
pub use store::{DeadLetterStore, StoreError};
