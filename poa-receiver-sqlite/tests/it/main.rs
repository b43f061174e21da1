//! The receiver as a host sees it, and the database as other programs see it.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue should panic")]

mod activity;
mod any_object;
mod common;
mod contract;
mod faults;
mod gone;
mod opening;
mod retention;
mod statistics;
mod wire;
