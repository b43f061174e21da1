//! The dashboard of a real server in a real browser.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod browser;
mod demo;
mod fleet;
mod keyboard;
mod site;
mod truth;
