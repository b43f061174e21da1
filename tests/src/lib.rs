//! Shared parts of the tests: a real `poa-server` process, a client that sends exactly the given bytes, and readers of
//! stored data.
//!
//! Nothing here returns an error that a test could only unwrap: what fails, panics and says why.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod agents;
mod browser;
pub mod history;
mod home;
mod http;
mod isolated;
mod rows;
mod server;
mod tokens;
mod wait;

pub use agents::Agents;
pub use browser::{Browser, DARK, DESKTOP, LAPTOP, Look, PHONE};
pub use home::{ADMIN, ADMIN_2, Home, KEY, METRICS, sqlite};
pub use http::{Answer, Client, Request};
pub use isolated::{HERE, Network, isolated};
pub use poa_test_nats::free_port;
pub use rows::{count, database, numbers, rows};
pub use server::{Server, program, resident};
pub use tokens::{basic, claims, now, sign, token_of};
pub use wait::{PATIENCE, raise_file_limit, soon, until};

/// The example in the README is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// So are those in the guide.
#[cfg(doctest)]
mod guide {
    #[doc = include_str!("../../docs/guide/write-a-receiver.md")]
    struct Receiver;
    #[doc = include_str!("../../docs/guide/write-a-handler.md")]
    struct Handler;
    #[doc = include_str!("../../docs/guide/write-an-engine.md")]
    struct Engine;
    #[doc = include_str!("../../docs/guide/embed-poa.md")]
    struct Embed;
    #[doc = include_str!("../../docs/guide/questions.md")]
    struct Questions;
}
