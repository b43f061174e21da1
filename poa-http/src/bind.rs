use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use poa_core::BuildError;
use tokio::net::{TcpListener, TcpSocket};

use crate::{Listen, descriptors};

/// The number of connections that the system queues while the accepting task is busy.
const PENDING: u32 = 1024;

/// Listens on an address.
pub(crate) fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart must not wait for the connections of the last run to leave TIME_WAIT.
    socket.set_reuseaddr(true)?;
    #[cfg(unix)]
    if addr.ip() == IpAddr::from(Ipv6Addr::UNSPECIFIED) {
        // The unspecified address covers IPv4 as well. If the system does not support that, it serves
        // IPv6 only.
        let _ = rustix::net::sockopt::set_ipv6_v6only(&socket, false);
    }
    socket.bind(addr)?;
    socket.listen(PENDING)
}

/// Listens on the first of the addresses that this machine has.
pub(crate) fn first_of<T>(
    listen: &Listen,
    mut bind: impl FnMut(SocketAddr) -> io::Result<T>,
) -> Result<(SocketAddr, T), BuildError> {
    let candidates = listen.candidates().map_err(|error| unknown(listen, error))?;
    let mut missing = None;
    for addr in candidates {
        match bind(addr) {
            Ok(bound) => return Ok((addr, bound)),
            Err(error) if is_not_there(&error) => missing = Some(error),
            Err(error) => return Err(refused(listen, error)),
        }
    }
    let none = || io::Error::from(ErrorKind::AddrNotAvailable);
    Err(refused(listen, missing.unwrap_or_else(none)))
}

/// Whether the machine does not have this address, or does not support its family.
fn is_not_there(error: &io::Error) -> bool {
    let no_family = matches!(error.kind(), ErrorKind::AddrNotAvailable | ErrorKind::Unsupported);
    #[cfg(unix)]
    let no_family =
        no_family || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error());
    no_family
}

fn unknown(listen: &Listen, error: io::Error) -> BuildError {
    let name = listen.name().unwrap_or_default();
    let text = format!(
        "cannot resolve the host name `{name}` to listen on {listen}; write an IP address, or add the name to the hosts file"
    );
    BuildError::failed(text).with_source(error)
}

/// A readable error for an address that cannot be listened on.
fn refused(listen: &Listen, error: io::Error) -> BuildError {
    let (cause, cure) = explain(&error);
    if cause.is_empty() {
        BuildError::failed(format!("cannot listen on {listen}; {cure}")).with_source(error)
    } else {
        BuildError::failed(format!("cannot listen on {listen}: {cause}; {cure}"))
    }
}

/// Cause and cure; no cause if the system's error text is the best description.
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

/// Warns if the limit of open files allows fewer connections than are configured.
pub(crate) fn warn_of_few_files(handler: &str, max_connections: usize, allowed: usize) {
    if allowed < max_connections {
        let limit = descriptors::limit().unwrap_or(usize::MAX);
        tracing::warn!(
            handler,
            "`max_connections` is {max_connections}, but of the {limit} files that this process may open, {allowed} are left for \
             connections here; raise its limit (`ulimit -Hn`, or `LimitNOFILE` of systemd), or lower `max_connections`"
        );
    }
}
