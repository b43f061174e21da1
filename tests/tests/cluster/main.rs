//! Whole nodes on a NATS cluster of their own or the shared one: killed, suspended, cut off and replaced while agents send.
//!
//! `POA_TEST_ROUNDS` repeats the faults; `cargo xtask soak cluster` sets it.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod activity;
#[cfg(target_os = "linux")]
mod clocks;
#[cfg(target_os = "linux")]
mod deploy;
mod faults;
mod keys;
mod letters;
mod load;
mod migrate;
mod node;
mod nodes;
#[cfg(target_os = "linux")]
mod partition;
mod poison;
mod users;
mod view;
