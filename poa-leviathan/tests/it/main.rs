//! The library against the vectors of the specification, a host in memory, and the kernel.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod commands;
#[cfg(all(feature = "docker", target_os = "linux"))]
mod docker;
mod durable;
mod engine;
#[cfg(all(feature = "docker", target_os = "linux"))]
mod fake_docker;
#[cfg(target_os = "linux")]
mod isolated;
#[cfg(target_os = "linux")]
mod kernel;
mod monitor;
mod random;
mod support;
mod vectors;
