//! Distinguishes a session of the server from a connection through a pooler.
//!
//! A server greets a client with the number of the process that serves it. A pooler such as PgBouncer greets with a number of its own,
//! because it changes servers between transactions. The driver does not expose the number, but writes it into a request to cancel; so
//! such a request is written here, to nowhere.

use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::{Client, Error};

/// Whether the server that answers is the process that greeted.
///
/// False also for a pooler that keeps to one server; that costs only a round trip for each transaction.
pub(super) async fn is_session(client: &Client) -> Result<bool, Error> {
    let greeted_by = greeted_by(client).await?;
    let row = client.query_typed_one("SELECT pg_backend_pid()", &[]).await?;
    Ok(greeted_by == Some(row.try_get(0)?))
}

async fn greeted_by(client: &Client) -> Result<Option<i32>, Error> {
    let tape = Tape::default();
    client.cancel_token().cancel_query_raw(tape.clone(), Plain).await?;
    let written = tape.0.lock().unwrap_or_else(PoisonError::into_inner);
    // The number of the process and its secret are the last eight bytes.
    let number = written.len().checked_sub(8).and_then(|at| written.get(at..at + 4));
    Ok(number.and_then(|number| Some(i32::from_be_bytes(number.try_into().ok()?))))
}

/// Records what is written, and agrees to whatever is requested.
#[derive(Clone, Debug, Default)]
struct Tape(Arc<Mutex<Vec<u8>>>);

impl AsyncRead for Tape {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // The answer to whether TLS may start.
        buf.put_slice(&b"S"[..buf.remaining().min(1)]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tape {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl TlsStream for Tape {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

/// Encrypts nothing: what is written stays here.
struct Plain;

impl TlsConnect<Tape> for Plain {
    type Stream = Tape;
    type Error = io::Error;
    type Future = Ready<io::Result<Tape>>;

    fn connect(self, tape: Tape) -> Self::Future {
        ready(Ok(tape))
    }
}
