//! The REST handler in a host, over real sockets.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod calls;
mod connections;
mod recorded;
mod start;
mod stop;
mod support;
