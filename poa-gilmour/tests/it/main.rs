//! The library as programs and peers see it.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod groups;
mod memory;
mod nats;
mod nats_outage;
mod outage;
mod recorded;
mod recorded_compositions;
mod redis;
