//! The gateway as nodes, operators and receivers see it.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod bad_nodes;
mod bus;
mod calls;
mod conformance;
mod contracts;
mod examples;
mod life;
mod many;
mod nats;
mod page;
mod recorded;
mod support;
