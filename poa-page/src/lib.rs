#![doc = include_str!("../README.md")]

mod answer;
mod asset;
mod files;

pub use answer::{Answer, content, empty, guard, json};
pub use asset::{Asset, shared};
pub use files::Files;
