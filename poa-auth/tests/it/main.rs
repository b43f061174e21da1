//! All tests from the outside: through the API, and over real sockets.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod endpoints;
mod files;
mod listed;
mod logins;
mod processes;
mod recorded;
mod support;
mod tls;
mod tokens;
