use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::descriptors::Slot;
use crate::state::Conn;

/// The multiple of the largest body that is discarded, at most, before a client that does not stop sending is cut
/// off.
const DISCARDED_BODIES: u64 = 4;

/// The socket of a connection, below TLS: reports what arrives, and closes in a way that lets the client read the
/// response.
pub(crate) struct Wire {
    tcp: TcpStream,
    conn: Arc<Conn>,
    /// Held as long as the socket.
    _slot: Slot,
    ended: bool,
    discarded: u64,
}

impl Wire {
    pub(crate) fn new(tcp: TcpStream, conn: Arc<Conn>, slot: Slot) -> Self {
        Self { tcp, conn, _slot: slot, ended: false, discarded: 0 }
    }

    #[cfg(feature = "websocket")]
    pub(crate) fn conn(&self) -> &Arc<Conn> {
        &self.conn
    }

    /// Discards input until the client is done.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.conn.linger();
        let mut space = [MaybeUninit::uninit(); 16 << 10];
        let most = self.conn.limits.body.get().saturating_mul(DISCARDED_BODIES);
        while self.discarded <= most {
            let mut buffer = ReadBuf::uninit(&mut space);
            ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut buffer))?;
            match buffer.filled().len() {
                0 => break,
                count => self.discarded += count as u64,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.tcp).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.conn.note_bytes();
        } else if buffer.remaining() > 0 {
            self.conn.note_end();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.ended {
            ready!(Pin::new(&mut self.tcp).poll_shutdown(cx))?;
            self.ended = true;
        }
        if self.conn.must_linger() { self.poll_discard(cx) } else { Poll::Ready(Ok(())) }
    }
}
