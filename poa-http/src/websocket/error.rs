use std::io;

use super::CloseCode;

/// The reason why a WebSocket session cannot continue.
///
/// The socket has recorded the close code for the client, and [`close_with`](super::WebSocket::close_with) sends
/// it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The client violated RFC 6455; close code 1002, or 1007 when a text is not UTF-8.
    #[error("the client does not speak WebSocket: {0}")]
    Protocol(&'static str),
    /// A message is larger than [`Options::max_message`](super::Options::max_message); close code 1009.
    #[error("a message is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// The messages of all connections together, or of this user, take all the memory they may; close code 1013.
    #[error("too much is being received at once; try again later")]
    Busy,
    /// The connection is closed already.
    #[error("the connection is closed")]
    Closed,
    /// The connection broke.
    #[error("the connection broke")]
    Io(#[source] io::Error),
}

impl Error {
    /// The close code and reason for the client; `None` when nothing can be sent any more.
    #[must_use]
    pub fn close(&self) -> Option<(CloseCode, &'static str)> {
        match self {
            Self::Protocol("invalid utf-8") => Some((CloseCode::INVALID_DATA, "invalid utf-8")),
            Self::Protocol(rule) => Some((CloseCode::PROTOCOL_ERROR, rule)),
            Self::TooLarge { .. } => Some((CloseCode::TOO_LARGE, "message too large")),
            Self::Busy => Some((CloseCode::TRY_AGAIN_LATER, "try again later")),
            Self::Closed | Self::Io(_) => None,
        }
    }
}
