//! The dashboard over real sockets, as clients of its feed and browsers see it.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod access;
mod feed;
mod files;
mod hosted;
mod restart;
mod slow;
mod support;
