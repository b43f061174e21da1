//! Situations that users of comparable programs reported, each with the link to its report, tried against a real server.
//!
//! `docs/security.md` has the whole list; the other tests of it stand where their kind belongs.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod files;
mod requests;
mod signals;
