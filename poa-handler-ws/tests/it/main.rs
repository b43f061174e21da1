//! The handler in a host, over real sockets.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod access;
mod calls;
mod client;
mod endings;
mod liveness;
mod load;
mod support;
