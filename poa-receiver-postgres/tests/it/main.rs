//! The receiver as a host sees it, and the database as other clients see it, against real servers.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue should panic")]

mod activity;
mod any_object;
mod common;
mod contract;
mod divide;
mod faults;
mod opening;
mod outage;
mod partition;
mod pooler;
mod proxy;
mod retention;
mod secrets;
mod statistics;
mod tls;
mod wire;
mod wraparound;
