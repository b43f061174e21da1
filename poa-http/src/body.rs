use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::StatusCode;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};

use crate::state::Conn;

/// The size of an unread rest of a body that is read and discarded to keep the connection.
const LITTLE: u64 = 4 << 10;

/// The body of a request, within the [`Limits`](crate::Limits) of its listener.
///
/// Reading it, with [`read`](Self::read) or as a [`hyper::body::Body`], fails as soon as it is too large or takes too long. A `Content-Length` over
/// the limit is an error before anything is read; a client that sent `Expect: 100-continue` receives the 100 response when the body is first polled.
///
/// Dropping a body before its end is always allowed. The response still reaches a client that is busy sending: the connection is closed after it,
/// without a reset that would destroy it.
pub struct Body {
    /// Absent only during the drop.
    incoming: Option<Incoming>,
    conn: Arc<Conn>,
    received: u64,
    ended: bool,
}

/// The reason why a body could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// The body is larger than [`Limits::body`](crate::Limits::body).
    #[error("the body is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// The client took longer than [`Limits::body_timeout`](crate::Limits::body_timeout).
    #[error("the body did not arrive within {0}")]
    Timeout(poa_core::config::Duration),
    /// The bodies of all requests together take all the memory they may.
    #[error("too much is being received at once; try again later")]
    Busy,
    /// The bodies that this user, or this address, is sending take all the memory of its share.
    #[error(
        "too much is being received from you at once; wait for earlier requests to be answered"
    )]
    OverShare,
    /// The content of the body does not match its `Content-Encoding`.
    #[error("the body is not valid gzip")]
    Encoding(#[source] std::io::Error),
    /// The connection ended in the middle of the body, or its chunks are malformed.
    #[error("the body is not complete")]
    Incomplete(#[source] hyper::Error),
}

impl BodyError {
    /// The status of the response to the client: 413, 408, 429, 503 or 400.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Timeout(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::OverShare => StatusCode::TOO_MANY_REQUESTS,
            Self::Incomplete(_) | Self::Encoding(_) => StatusCode::BAD_REQUEST,
        }
    }
}

impl Body {
    /// The body of a request over this connection.
    pub(crate) fn new(incoming: Incoming, conn: Arc<Conn>) -> Self {
        Self { incoming: Some(incoming), conn, received: 0, ended: false }
    }

    /// The address of the client.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.conn.peer
    }

    /// Sets the session that follows once the upgrade is answered.
    #[cfg(feature = "websocket")]
    pub(crate) fn follow_with(&self, following: crate::state::Following) {
        self.conn.follow_with(following);
    }

    /// Charges the body, and those of later requests over the same connection, to this user instead of its address.
    ///
    /// For handlers, once they have identified the user and before they read.
    pub fn charge_to(&self, user: &Arc<str>) {
        self.conn.set_user(user);
    }

    pub(crate) fn conn(&self) -> &Arc<Conn> {
        &self.conn
    }

    /// The remaining size, as far as hyper knows it.
    fn rest(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), |rest| rest.size_hint())
    }

    fn too_large(&self) -> Option<BodyError> {
        let limit = self.conn.limits.body.get();
        let at_least = self.received.saturating_add(self.rest().lower());
        (at_least > limit).then_some(BodyError::TooLarge { limit })
    }

    fn poll_incoming(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        let Some(frame) = ready!(Pin::new(&mut *incoming).poll_frame(cx)) else {
            self.ended = true;
            return Poll::Ready(None);
        };
        let frame = frame.map_err(BodyError::Incomplete)?;
        self.received += frame.data_ref().map_or(0, |data| data.len() as u64);
        self.ended = incoming.is_end_stream();
        Poll::Ready(Some(match self.too_large() {
            Some(error) => Err(error),
            None => Ok(frame),
        }))
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(error) = self.too_large() {
            return Poll::Ready(Some(Err(error)));
        }
        if self.conn.body_expired() {
            return Poll::Ready(Some(Err(BodyError::Timeout(self.conn.limits.body_timeout))));
        }
        let polled = self.poll_incoming(cx);
        self.conn.await_body(!self.ended);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.incoming.as_ref().is_none_or(hyper::body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.rest()
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.conn.await_body(false);
        if self.is_end_stream() {
            return;
        }
        let little = self.rest().upper().is_some_and(|left| left <= LITTLE);
        // A client that waits for the 100 response has not sent the body, and will not.
        let comes = !self.conn.body_expired() && !self.conn.expects_continue();
        let keep = little && comes;
        self.conn.leave_body_unread(!keep);
        if let Some(rest) = self.incoming.take().filter(|_| keep) {
            self.conn.keep_leftover(rest);
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("peer", &self.conn.peer)
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}
