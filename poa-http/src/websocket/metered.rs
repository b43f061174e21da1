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

/// The part of an unfinished message that every connection may hold without reserving it.
const FREE: u64 = 4 << 10;

/// The socket below the frames. Reserves memory for a message while it arrives.
pub(super) struct Metered {
    stream: Stream,
    /// Bytes that arrived together with the request for the upgrade.
    ahead: Bytes,
    memory: Option<MemoryBudget>,
    received: u64,
    /// The part of `received` that does not belong to a message still arriving.
    finished: u64,
    paid: Option<Paid>,
    /// The budget, or the share of the sender, is exhausted. Nothing more is read.
    busy: bool,
}

/// The reservation for the message that is arriving.
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
    /// Takes the socket out of hyper, whose buffers are freed. `None` when it is not a socket of this crate.
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

    /// The number of bytes received so far.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// The bytes of a message that is still arriving, as far as known: bytes that arrived in one piece with the end of the
    /// previous message are not included.
    pub(super) fn unfinished(&self) -> u64 {
        self.received - self.finished
    }

    /// A control frame of this many bytes is not part of a message; it may arrive in the middle of one, which continues.
    pub(super) fn pass_over(&mut self, bytes: u64) {
        self.finished = self.received.min(self.finished + bytes);
    }

    /// A message is complete, and has been used.
    pub(super) fn finish_message(&mut self) {
        self.finished = self.received;
        self.paid = None;
    }

    /// Whether the budget is exhausted for the message that is arriving.
    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }

    /// Stops reserving: further input is discarded.
    pub(super) fn give_up(&mut self) {
        self.memory = None;
        self.busy = false;
        self.finish_message();
    }

    /// Records what arrived, and reserves memory when the message becomes large.
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
        // The first time, for everything before it as well.
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

/// The common interface of the two kinds of streams.
trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.busy {
            // The socket above reads immediately.
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
                // Frees hyper's buffer.
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
