//! The page of the networks, of a real server in a real browser. The host is one in memory: no privilege is needed.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod changes;
mod keyboard;
mod many;
mod picture;
mod site;
