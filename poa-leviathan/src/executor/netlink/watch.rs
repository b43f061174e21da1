//! Listens to the kernel for changes of interfaces and addresses.

use std::fmt;
use std::io;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket};
use tokio::sync::Mutex;

/// `RTMGRP_LINK` and `RTMGRP_IPV4_IFADDR`.
const GROUPS: u32 = 0x1 | 0x10;

pub(super) struct Watch {
    socket: Mutex<TokioSocket>,
}

impl Watch {
    /// Fails outside of a runtime.
    pub(super) fn new() -> io::Result<Self> {
        tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        socket.socket_mut().bind(&SocketAddr::new(0, GROUPS))?;
        Ok(Self { socket: Mutex::new(socket) })
    }

    /// Waits for a change, and reads whatever came with it. An overrun is a change as well.
    ///
    /// Cancel safe: what is read is not looked at, and the next change follows soon enough.
    pub(super) async fn changed(&self) {
        let mut socket = self.socket.lock().await;
        let mut buffer = Vec::with_capacity(32 << 10);
        let _ = socket.recv(&mut buffer).await;
        // What came in the same burst.
        loop {
            buffer.clear();
            if socket.socket_mut().recv(&mut buffer, 0).is_err() {
                return;
            }
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}
