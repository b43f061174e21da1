use std::hash::{BuildHasher as _, RandomState};
use std::net::TcpListener;

/// A free port of this machine.
///
/// Not one that the system gives to outgoing connections: while the server is down, a client that connects to such a port may
/// be given that very port, and so reach itself.
#[must_use]
pub fn free_port() -> u16 {
    let any = || 10_000 + (RandomState::new().hash_one("port") % 22_000) as u16;
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    std::iter::repeat_with(any).find(is_free).unwrap_or_default()
}
