//! Whole nodes on a NATS cluster of their own or the shared one: killed, suspended, cut off and replaced while agents send.
//!
//! `POA_TEST_ROUNDS` repeats the faults; `cargo xtask soak cluster` sets it.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod activity;
mod faults;
mod keys;
mod load;
mod migrate;
mod node;
mod nodes;
mod poison;
mod users;
mod view;
