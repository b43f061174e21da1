//! The library against the vectors of the specification, a host in memory, and the kernel.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod commands;
mod engine;
#[cfg(target_os = "linux")]
mod kernel;
mod monitor;
mod random;
mod support;
mod vectors;
