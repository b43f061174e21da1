use std::fmt;
use std::ops::Range;

use bytes::Bytes;

/// A message smaller than this is in the read buffer of its connection, which it must not keep alive.
const OWN_MEMORY: usize = 8 << 10;

/// A complete WebSocket message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A text. A received text has been checked to be UTF-8; a text to send must be.
    Text(Bytes),
    /// Bytes.
    Binary(Bytes),
    /// A ping. When received, it was answered already.
    Ping,
    /// A pong.
    Pong,
    /// A close frame: nothing follows it. When received, it was answered already.
    Close(CloseCode),
}

impl Message {
    /// A text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(Bytes::from(text.into()))
    }
}

/// These bytes of a received message, for as long as they are needed.
///
/// Shares the memory of a large message, and copies out of a small one, which would keep a whole read buffer alive.
///
/// # Panics
/// When the range is not inside the message.
#[must_use]
pub fn keep(message: &Bytes, range: Range<usize>) -> Bytes {
    if message.len() >= OWN_MEMORY && range.len() >= message.len() / 2 {
        message.slice(range)
    } else {
        Bytes::copy_from_slice(&message[range])
    }
}

/// The close code of a session (RFC 6455, section 7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the session is complete.
    pub const NORMAL: Self = Self(1000);
    /// 1001: the server stops, or the page is left.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the other side violated the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1005: no code was given. Never sent.
    pub const NONE: Self = Self(1005);
    /// 1007: a text that is not UTF-8.
    pub const INVALID_DATA: Self = Self(1007);
    /// 1008: the other side violated a policy.
    pub const POLICY: Self = Self(1008);
    /// 1009: a message is too large.
    pub const TOO_LARGE: Self = Self(1009);
    /// 1011: a fault of this server.
    pub const INTERNAL: Self = Self(1011);
    /// 1013: too much at once.
    pub const TRY_AGAIN_LATER: Self = Self(1013);

    /// A code of the range for applications, 4000 to 4999.
    ///
    /// # Panics
    /// Outside that range.
    #[must_use]
    pub const fn application(code: u16) -> Self {
        assert!(4000 <= code && code <= 4999, "codes of applications are 4000 to 4999");
        Self(code)
    }

    pub(super) const fn received(code: u16) -> Self {
        Self(code)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_messages_do_not_keep_a_buffer_alive() {
        let buffer = Bytes::from(vec![7; 4 * OWN_MEMORY]);
        let shares = |kept: &Bytes| buffer.as_ptr_range().contains(&kept.as_ptr());
        assert!(!shares(&keep(&buffer.slice(..OWN_MEMORY - 1), 0..10)));
        assert!(!shares(&keep(&buffer, 0..10)));
        assert!(shares(&keep(&buffer, 100..4 * OWN_MEMORY)));
    }
}
