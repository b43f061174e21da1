//! The dashboard of a real server in a real browser.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod browser;
mod demo;
mod fleet;
mod keyboard;
mod parts;
mod proxy;
#[path = "../websocket/raw.rs"]
#[allow(dead_code, reason = "the tests of WebSocket itself need more of it")]
mod raw;
mod site;
mod sockets;
mod truth;
