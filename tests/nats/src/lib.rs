#![doc = include_str!("../README.md")]

mod error;
mod ports;
mod process;
mod servers;

pub use error::ServerError;
pub use ports::free_port;
pub use servers::{Servers, Setup};

use std::env;
use std::path::PathBuf;

/// User and password of the system account.
pub const SYSTEM: (&str, &str) = ("sys", "sys");

/// The URL of the single server that all tests share.
///
/// # Panics
/// When none is named.
#[must_use]
pub fn shared() -> String {
    variable("POA_TEST_NATS", "the URL of a NATS server")
}

/// The URLs of the cluster that all tests share.
///
/// # Panics
/// When none is named.
#[must_use]
pub fn shared_cluster() -> Vec<String> {
    let urls =
        variable("POA_TEST_NATS_CLUSTER", "the URLs of three NATS servers, separated by commas");
    urls.split(',').map(str::to_owned).collect()
}

/// The URLs where the servers of the shared cluster answer monitoring requests.
///
/// # Panics
/// When none is named.
#[must_use]
pub fn shared_monitors() -> Vec<String> {
    let urls = variable(
        "POA_TEST_NATS_MONITORS",
        "the monitoring URLs of that cluster, separated by commas",
    );
    urls.split(',').map(str::to_owned).collect()
}

/// The program, for tests that run servers of their own.
///
/// # Errors
/// When none is named.
pub fn program() -> Result<PathBuf, ServerError> {
    env::var_os("POA_TEST_NATS_SERVER").map(PathBuf::from).ok_or(ServerError::NoProgram)
}

fn variable(name: &str, what: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("set {name} to {what}, or run `cargo xtask test`"))
}
