use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use poa_core::BuildError;
use tokio::net::{TcpListener, TcpSocket};

/// Connections the system takes in while the accepting task is busy.
const PENDING: u32 = 1024;

/// Listens on an address.
pub(crate) fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart must not wait for the connections of the last run to leave TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(PENDING)
}

/// Why there is no listening on an address, for people.
pub(crate) fn refused(addr: SocketAddr, error: io::Error) -> BuildError {
    let (cause, cure) = explain(&error);
    if cause.is_empty() {
        BuildError::failed(format!("cannot listen on {addr}; {cure}")).because(error)
    } else {
        BuildError::failed(format!("cannot listen on {addr}: {cause}; {cure}"))
    }
}

/// Cause and cure; no cause when the system's own words must do.
fn explain(error: &io::Error) -> (&'static str, &'static str) {
    match error.kind() {
        ErrorKind::AddrInUse => (
            "address already in use",
            "is another server running? choose another port with `listen`",
        ),
        ErrorKind::AddrNotAvailable => (
            "this machine has no such address",
            "name one of its own with `listen`, or 0.0.0.0 for all of them",
        ),
        ErrorKind::PermissionDenied => (
            "permission denied",
            "ports below 1024 need a privilege; choose another port with `listen`",
        ),
        _ => ("", "choose another address with `listen`"),
    }
}

/// Warns when the process may open fewer files than there may be connections.
pub(crate) fn check_file_limit(handler: &str, max_connections: usize) {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit};
        let limit = getrlimit(Resource::Nofile).current;
        if let Some(limit) = limit.filter(|limit| *limit < max_connections as u64) {
            tracing::warn!(
                handler,
                "`max_connections` is {max_connections}, but this process may only open {limit} files; raise its limit \
                 (`ulimit -Hn`, or `LimitNOFILE` of systemd), or lower `max_connections`"
            );
        }
    }
}
