//! Redis servers for tests: each on a free port of the loopback, gone with its value. And a peer that speaks its wire protocol word by
//! word.

mod peer;
mod server;

pub use peer::{Peer, Reply};
pub use server::{PROGRAM, Server};
