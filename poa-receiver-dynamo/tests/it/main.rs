//! The receiver as a host sees it, and the table as anybody else does, in a real DynamoDB.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall panic")]

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
