#![doc = include_str!("../README.md")]

mod bouncer;
mod cluster;
mod error;
mod programs;
mod wraparound;

pub use bouncer::{Bouncer, program as bouncer_program};
pub use cluster::{Cluster, Setup};
pub use error::ClusterError;
pub use programs::Programs;

use std::env;

/// The URL of the server that all tests share.
///
/// # Panics
/// When none is named.
#[must_use]
pub fn shared() -> String {
    env::var("POA_TEST_POSTGRES").unwrap_or_else(|_| {
        panic!("set POA_TEST_POSTGRES to the URL of a server, or run `cargo xtask test`")
    })
}
