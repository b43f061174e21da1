#![doc = include_str!("../README.md")]

mod agent;
mod chain;
mod files;
mod fleet;
mod line;
mod options;
mod report;
mod seed;
mod tally;
mod worker;
mod wrap;

pub use files::TooFewFiles;
pub use fleet::{Fleet, FleetError, Monitor};
pub use options::{Options, Rate};
pub use report::{Latency, Progress, Summary};
