use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use poa_core::MemoryBudget;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use crate::shares::Room;
use crate::state::Conn;
use crate::wire::Wire;

/// What every connection may hold of an unfinished message without paying for it.
const FREE: u64 = 4 << 10;

/// The socket below the frames. Reserves memory for a message while it arrives.
pub(super) struct Metered {
    stream: Stream,
    /// What came together with the request for the upgrade.
    ahead: Bytes,
    memory: Option<MemoryBudget>,
    received: u64,
    /// Of `received`, what belongs to no message that still arrives.
    finished: u64,
    paid: Option<Paid>,
    /// The budget, or the share of the sender, had no more. Nothing is read any more.
    busy: bool,
}

/// What is reserved for the message that arrives.
struct Paid {
    room: Room,
    bytes: u64,
}

enum Stream {
    Plain(Wire),
    Tls(Box<TlsStream<Wire>>),
}

impl Stream {
    fn conn(&self) -> &Conn {
        match self {
            Self::Plain(wire) => wire.conn(),
            Self::Tls(stream) => stream.get_ref().0.conn(),
        }
    }
}

impl Metered {
    /// Takes the socket out of hyper, whose buffers are given back. `None` when it is not a socket of this crate.
    pub(super) fn new(upgraded: Upgraded, memory: Option<MemoryBudget>) -> Option<Self> {
        let (stream, ahead) = match upgraded.downcast::<TokioIo<Wire>>() {
            Ok(parts) => (Stream::Plain(parts.io.into_inner()), parts.read_buf),
            Err(upgraded) => {
                let parts = upgraded.downcast::<TokioIo<TlsStream<Wire>>>().ok()?;
                (Stream::Tls(Box::new(parts.io.into_inner())), parts.read_buf)
            }
        };
        // Even an empty rest keeps hyper's buffer alive.
        let ahead = if ahead.is_empty() { Bytes::new() } else { ahead };
        Some(Self { stream, ahead, memory, received: 0, finished: 0, paid: None, busy: false })
    }

    /// Bytes received so far.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Bytes of a message that still arrives, as far as can be told: what came in one piece with the end of the message before
    /// it is not among them.
    pub(super) fn unfinished(&self) -> u64 {
        self.received - self.finished
    }

    /// A control frame of so many bytes is not part of a message, and may come in the middle of one, which continues.
    pub(super) fn pass_over(&mut self, bytes: u64) {
        self.finished = self.received.min(self.finished + bytes);
    }

    /// A message is finished, and has been used.
    pub(super) fn finish_message(&mut self) {
        self.finished = self.received;
        self.paid = None;
    }

    /// Whether the budget had no more for the message that arrives.
    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }

    /// Stops paying: what still arrives is thrown away.
    pub(super) fn give_up(&mut self) {
        self.memory = None;
        self.busy = false;
        self.finish_message();
    }

    /// Notes what arrived, and pays for it when the message becomes large.
    fn pay(&mut self, bytes: u64) {
        self.received += bytes;
        let unfinished = self.unfinished();
        let Some(memory) = self.memory.as_ref().filter(|_| unfinished > FREE) else { return };
        let paid = match &mut self.paid {
            Some(paid) => paid,
            none => {
                let conn = self.stream.conn();
                let mut room = Room::new(memory);
                if room.charge_to(&conn.shares, conn.owner(), 0).is_err() {
                    self.busy = true;
                    return;
                }
                none.insert(Paid { room, bytes: 0 })
            }
        };
        // The first time, for all that came before as well.
        let due = unfinished.saturating_sub(paid.bytes);
        if paid.room.grow(due).is_ok() {
            paid.bytes += due;
        } else {
            self.busy = true;
        }
    }

    pub(super) fn conn(&self) -> &Conn {
        self.stream.conn()
    }

    fn stream(&mut self) -> Pin<&mut (dyn Duplex + '_)> {
        match &mut self.stream {
            Stream::Plain(wire) => Pin::new(wire),
            Stream::Tls(stream) => Pin::new(stream.as_mut()),
        }
    }
}

/// What the two kinds of streams have in common.
trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.busy {
            // The socket above looks at once.
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        if self.ahead.is_empty() {
            ready!(self.stream().poll_read(cx, buffer))?;
        } else {
            let count = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead[..count]);
            self.ahead.advance(count);
            if self.ahead.is_empty() {
                // Lets go of hyper's buffer.
                self.ahead = Bytes::new();
            }
        }
        self.pay((buffer.filled().len() - before) as u64);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(wire) => wire.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }
}
