//! The handler over real connections, on a host in memory.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod contract;
mod docker;
mod events;
#[allow(dead_code, reason = "the tests of the library use all of it")]
#[path = "../../../poa-leviathan/tests/it/fake_docker.rs"]
mod fake_docker;
mod http;
#[cfg(target_os = "linux")]
#[path = "../../../poa-leviathan/tests/it/isolated.rs"]
mod isolated;
#[cfg(target_os = "linux")]
mod kernel;
mod monitor;
mod page;
mod slow;
mod support;
