//! Traces of real hosts, exported to a collector that the tests control.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue should panic")]

mod collector;
mod hosts;
mod outage;
mod requests;
mod shares;
mod way;
