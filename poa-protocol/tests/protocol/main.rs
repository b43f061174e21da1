//! The protocol's rules, the recorded exchanges, and properties that hold for any body.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod answers;
mod calls;
mod common;
mod fields;
mod json;
mod json_properties;
mod msgpack;
mod msgpack_properties;
mod recorded;
mod refusals;
mod socket;
