//! The listener over real sockets.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod bind;
mod capacity;
mod certificates;
mod exchange;
mod fairness;
mod linger;
mod listeners;
mod memory;
mod refusals;
mod slow;
mod stop;
mod support;
mod tls;
mod websocket;
