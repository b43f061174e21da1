//! WebSocket with independent clients and an independent test suite, and the rules of RFC 6455 one by one.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

#[cfg(feature = "autobahn")]
mod autobahn;
mod clients;
mod raw;
mod rules;

use std::path::PathBuf;

/// The path in this variable.
fn tool(variable: &str, what: &str) -> PathBuf {
    match std::env::var_os(variable) {
        Some(path) => path.into(),
        None => panic!("set {variable} to {what}, or run `cargo xtask test`"),
    }
}
