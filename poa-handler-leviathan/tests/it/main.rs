//! The handler over real connections, on a host in memory.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod contract;
mod events;
mod http;
mod monitor;
mod support;
