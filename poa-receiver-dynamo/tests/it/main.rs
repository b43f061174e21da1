//! The receiver through a host, and the table through a client, in a real DynamoDB.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue panics")]

mod as_blocks;
mod busy;
mod common;
mod contract;
mod faults;
mod kill;
mod local;
mod proxy;
mod tables;
mod values;
mod wire;
