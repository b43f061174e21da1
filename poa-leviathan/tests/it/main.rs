//! The library against the vectors of the specification, a host in memory, and the kernel.

mod commands;
mod engine;
#[cfg(target_os = "linux")]
mod kernel;
mod monitor;
mod random;
mod support;
mod vectors;
