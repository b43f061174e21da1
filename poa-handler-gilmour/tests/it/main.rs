//! The gateway as nodes, operators and receivers see it.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod bad_nodes;
mod bus;
mod calls;
mod contracts;
mod examples;
mod life;
mod many;
mod nats;
mod recorded;
mod support;
