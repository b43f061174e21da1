//! Listens to the kernel for changes of interfaces and addresses.

use std::fmt;
use std::io;
use std::sync::Arc;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// `RTMGRP_LINK` and `RTMGRP_IPV4_IFADDR`.
const GROUPS: u32 = 0x1 | 0x10;

pub(super) struct Watch {
    socket: Arc<Socket>,
}

impl Watch {
    /// Fails outside of a runtime.
    pub(super) fn new() -> io::Result<Self> {
        tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.set_non_blocking(true)?;
        socket.bind(&SocketAddr::new(0, GROUPS))?;
        Ok(Self { socket: Arc::new(socket) })
    }

    #[allow(
        deprecated,
        reason = "the one without a warning is unsafe; this socket stays open while it is registered"
    )]
    async fn readable(&self) -> io::Result<()> {
        let waiting = AsyncFd::with_interest(self.socket.clone(), Interest::READABLE)?;
        waiting.readable().await.map(drop)
    }

    /// Waits for a change, and reads whatever came with it. An overrun is a change as well.
    ///
    /// The runtime is told of the socket only while this waits: a change of our own is a dozen messages, and each would wake it.
    ///
    /// Cancel safe: what is read is not looked at, and the next change follows soon enough.
    pub(super) async fn changed(&self) {
        if let Err(error) = self.readable().await {
            tracing::warn!("cannot listen to the kernel for changes: {error}");
            return std::future::pending().await;
        }
        let mut buffer = Vec::with_capacity(32 << 10);
        loop {
            buffer.clear();
            // An overrun is told once; there may be more behind it.
            match self.socket.recv(&mut buffer, 0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.raw_os_error() != Some(ENOBUFS) => return,
                _ => {}
            }
        }
    }
}

/// The error number of Linux for messages that were lost.
const ENOBUFS: i32 = 105;

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}
