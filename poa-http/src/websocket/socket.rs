use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use hyper::upgrade::OnUpgrade;
use poa_core::MemoryBudget;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_websockets as ws;

use super::frames::Frames;
use super::metered::Metered;
use super::{CloseCode, Error, Message, Options};
use crate::state::Following;

/// How long a client has to read the last messages and to answer the close frame.
const GOODBYE: Duration = Duration::from_secs(5);

/// The longest reason that fits into a close frame (RFC 6455, section 5.5).
const MAX_REASON: usize = 123;

/// The server side of a WebSocket session.
///
/// A [`Stream`] of received messages and a [`Sink`] for messages to send. Pings are answered automatically, but only while
/// the stream is polled. While the client does not read, nothing is received from it: at most about 8 KiB, or one message,
/// wait to be sent.
///
/// An idle connection takes little memory once it is flushed, even if nothing was sent.
///
/// Receiving, sending and flushing are cancel safe: no message is lost or sent twice.
pub struct WebSocket {
    frames: Frames,
    /// Nothing more is received: the client sent a close frame, or violated the protocol.
    ended: bool,
    /// The client has sent a close frame, and nothing may follow it.
    said_goodbye: bool,
    /// A message that was arriving was returned since the stream was last polled.
    handed_over: bool,
}

impl WebSocket {
    fn new(socket: Metered, limit: usize) -> Self {
        let frames = Frames::new(socket, limit);
        Self { frames, ended: false, said_goodbye: false, handed_over: false }
    }

    /// The number of bytes received so far. It increases with every sign of life, even with a part of a message.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.frames.socket().received()
    }

    /// Whether a part of a message has been received and the rest has not, disregarding pings and pongs.
    ///
    /// Bytes that arrived in one piece with the end of the previous message count only when further bytes arrive.
    #[must_use]
    pub fn is_receiving(&self) -> bool {
        !self.handed_over && self.frames.socket().unfinished() > 0
    }

    /// Charges messages to this user instead of its address.
    pub fn charge_to(&self, user: &Arc<str>) {
        self.frames.socket().conn().set_user(user);
    }

    /// Ready once the server needs the slot of this connection for others. The session should end then, with
    /// [`CloseCode::TRY_AGAIN_LATER`]; a session that continues keeps its slot.
    ///
    /// This happens when all slots are taken and one user or network has more than half of them.
    pub fn poll_unwanted(&self, cx: &Context<'_>) -> Poll<()> {
        self.frames.socket().conn().poll_finish(cx)
    }

    /// Changes the largest accepted message, in bytes.
    pub fn set_max_message(&mut self, bytes: usize) {
        self.frames.set_limit(bytes);
    }

    /// Ends the session and closes the connection, whatever its state.
    ///
    /// Sends the queued messages, then this code, unless there was another reason already: the client sent a close frame,
    /// or an [`Error`] occurred. Then the client has 5 s to read it and to answer. The reason is cut to 123 bytes.
    pub fn close_with(
        mut self,
        code: CloseCode,
        reason: &str,
    ) -> impl Future<Output = ()> + Send + use<> {
        self.queue_close(code, reason);
        // State that is needed at the end only must not make every session larger.
        let goodbye = Box::pin(self.say_goodbye());
        async move {
            // After that time, the connection is dropped without an orderly end.
            let _ = tokio::time::timeout(GOODBYE, goodbye).await;
        }
    }

    async fn say_goodbye(mut self) -> Result<(), Error> {
        self.frames.stream().flush().await.map_err(|error| self.explain(error))?;
        if !self.frames.socket().is_busy() {
            // Returns the answer of the client, or flushes ours.
            while let Some(Ok(message)) = self.frames.stream().next().await {
                self.said_goodbye |= message.is_close();
                if self.frames.take(&message) {
                    self.frames.socket_mut().finish_message();
                }
            }
        }
        self.frames.socket_mut().give_up();
        let mut socket = self.frames.into_socket();
        socket.shutdown().await.map_err(Error::Io)?;
        // Closing with unread bytes resets the connection, which can destroy the last messages in transit.
        let mut rest = [0; 1024];
        while !self.said_goodbye && socket.read(&mut rest).await.map_err(Error::Io)? > 0 {}
        Ok(())
    }

    /// Fails if there was a close frame already, which then remains in force.
    fn queue_close(&mut self, code: CloseCode, reason: &str) {
        let fits = (0..=reason.len().min(MAX_REASON)).rev().find(|at| reason.is_char_boundary(*at));
        let reason = &reason[..fits.unwrap_or(0)];
        if let Ok(code) = ws::CloseCode::try_from(code.get()) {
            let close = ws::Message::close(Some(code), reason);
            let _ = self.frames.stream().start_send_unpin(close);
            self.frames.close();
        }
    }

    /// Converts an error of the library.
    fn explain(&mut self, error: ws::Error) -> Error {
        self.note(match error {
            ws::Error::Protocol(rule) => Error::Protocol(describe(&rule)),
            ws::Error::PayloadTooLong { .. } => Error::TooLarge { limit: self.frames.limit() },
            ws::Error::AlreadyClosed => Error::Closed,
            ws::Error::Io(error) => Error::Io(error),
            other => Error::Io(io::Error::other(other)),
        })
    }

    /// Ends the session, and queues the close frame for the client.
    fn note(&mut self, error: Error) -> Error {
        if let Some((code, reason)) = error.close() {
            self.queue_close(code, reason);
        }
        self.ended = true;
        error
    }
}

fn describe(rule: &ws::proto::ProtocolError) -> &'static str {
    use ws::proto::ProtocolError as Rule;
    match rule {
        Rule::FragmentedControlFrame => "fragmented control frame",
        Rule::InvalidCloseCode => "invalid close code",
        Rule::InvalidOpcode => "invalid opcode",
        Rule::InvalidPayloadLength => "invalid payload length",
        Rule::InvalidRsv => "reserved bits are set",
        Rule::InvalidUtf8 => "invalid utf-8",
        Rule::UnexpectedUnmaskedFrame => "frame without a mask",
        _ => "invalid frame",
    }
}

impl Stream for WebSocket {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if std::mem::take(&mut self.handed_over) {
            // The last message has been used.
            self.frames.socket_mut().finish_message();
        }
        // A client that does not read, but sends pings, must not make the server hold all the pongs.
        ready!(self.as_mut().poll_ready(cx))?;
        let mut whole = true;
        let message = match self.frames.stream().poll_next_unpin(cx) {
            _ if self.frames.socket().is_busy() => {
                return Poll::Ready(Some(Err(self.note(Error::Busy))));
            }
            Poll::Pending => return Poll::Pending,
            Poll::Ready(None) => None,
            Poll::Ready(Some(Err(error))) => Some(Err(self.explain(error))),
            Poll::Ready(Some(Ok(message))) => {
                whole = self.frames.take(&message);
                Some(Ok(received(message)))
            }
        };
        self.handed_over = whole;
        self.said_goodbye |= matches!(message, Some(Ok(Message::Close(_))));
        self.ended |= self.said_goodbye || message.is_none();
        Poll::Ready(message)
    }
}

fn received(message: ws::Message) -> Message {
    if let Some((code, _)) = message.as_close() {
        return Message::Close(CloseCode::received(code.into()));
    }
    if message.is_text() {
        Message::Text(message.into_payload().into())
    } else if message.is_binary() {
        Message::Binary(message.into_payload().into())
    } else if message.is_ping() {
        Message::Ping
    } else {
        Message::Pong
    }
}

impl Sink<Message> for WebSocket {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let Some(stream) = self.frames.running() else { return Poll::Ready(Ok(())) };
        stream.poll_ready_unpin(cx).map_err(|error| self.explain(error))
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        let message = match message {
            Message::Text(text) => ws::Message::text(text),
            Message::Binary(bytes) => ws::Message::binary(bytes),
            Message::Ping => ws::Message::ping(Bytes::new()),
            Message::Pong => ws::Message::pong(Bytes::new()),
            Message::Close(code) => {
                self.queue_close(code, "");
                return Ok(());
            }
        };
        self.frames.stream().start_send_unpin(message).map_err(|error| self.explain(error))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let Some(stream) = self.frames.running() else { return Poll::Ready(Ok(())) };
        ready!(stream.poll_flush_unpin(cx)).map_err(|error| self.explain(error))?;
        self.frames.rest();
        Poll::Ready(Ok(()))
    }

    /// Flushes only; [`WebSocket::close_with`] ends the session.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_flush(cx)
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket")
            .field("received", &self.received())
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// The future of a connection after the response to its upgrade is sent.
pub(super) fn following<F, S>(pending: OnUpgrade, options: &Options, session: F) -> Following
where
    F: FnOnce(WebSocket) -> S + Send + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    let (limit, memory) = (options.max_message, options.memory.clone());
    Box::pin(async move {
        let socket = open(pending, limit, memory).await?;
        Some(Box::pin(session(socket)) as _)
    })
}

async fn open(pending: OnUpgrade, limit: usize, memory: Option<MemoryBudget>) -> Option<WebSocket> {
    match pending.await {
        Ok(upgraded) => Some(WebSocket::new(Metered::new(upgraded, memory)?, limit)),
        Err(error) => {
            tracing::debug!("a connection ended before its upgrade: {error}");
            None
        }
    }
}
