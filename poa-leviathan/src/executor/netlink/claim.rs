//! One at a time changes a host.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::Duration;

use crate::{Code, Error};

/// The name of the abstract socket. The kernel keeps such names apart by network namespace, which is just what is claimed.
const NAME: &str = "leviathan.networks";
/// How often a claim is tried.
const PAUSE: Duration = Duration::from_millis(50);

/// The right to change the networks of the namespace that this process is in. It ends when this is dropped, or the process dies.
#[derive(Debug)]
pub struct Claim {
    _listener: UnixListener,
}

impl Claim {
    /// Takes the right.
    ///
    /// # Errors
    /// `busy` when another program has it.
    pub fn take() -> Result<Self, Error> {
        let bound =
            SocketAddr::from_abstract_name(NAME).and_then(|name| UnixListener::bind_addr(&name));
        match bound {
            Ok(listener) => Ok(Self { _listener: listener }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let why = "another program changes the networks of this host already; stop it, or use its REST interface";
                Err(Error::new(Code::Busy, why))
            }
            Err(error) => {
                Err(Error::internal(format!("cannot claim the networks of this host: {error}")))
            }
        }
    }

    /// Takes the right, waiting for a predecessor that is about to end.
    ///
    /// # Errors
    /// As [`take`](Self::take), after `patience`.
    pub async fn wait(patience: Duration) -> Result<Self, Error> {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            match Self::take() {
                Err(error)
                    if error.code() == Code::Busy && tokio::time::Instant::now() < deadline =>
                {
                    tokio::time::sleep(PAUSE).await;
                }
                other => return other,
            }
        }
    }
}
