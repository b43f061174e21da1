//! The library as programs and peers see it.

mod memory;
mod outage;
mod recorded;
mod recorded_compositions;
mod redis;
