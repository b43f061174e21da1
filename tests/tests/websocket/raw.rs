//! A client that knows what a frame is, and sends any.

use poa_tests::soon;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A connection that speaks WebSocket.
pub(crate) struct Socket(TcpStream);

/// A frame from the server.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) first: u8,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The code of a close frame.
    pub(crate) fn close_code(&self) -> Option<u16> {
        let code = self.payload.first_chunk().map(|code| u16::from_be_bytes(*code));
        code.filter(|_| self.first == 0x88)
    }
}

/// A frame from a client, with this first byte.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len();
    let length = match length {
        0..=125 => vec![length as u8],
        126..=0xffff => [&[126][..], &(length as u16).to_be_bytes()].concat(),
        _ => [&[127][..], &(length as u64).to_be_bytes()].concat(),
    };
    frame_of_length(first, &length, payload)
}

/// A frame whose length is written as given: the seven bits, and what follows them.
pub(crate) fn frame_of_length(first: u8, length: &[u8], payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0xa1, 0x5c, 0x00, 0x7e];
    let mut frame = vec![first, 0x80 | length[0]];
    frame.extend(&length[1..]);
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

impl Socket {
    /// Opens `path` with this header.
    pub(crate) async fn open(address: &str, path: &str, header: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: poa\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{header}\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon("an answer", stream.read_u8()).await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        Self(stream)
    }

    /// Sends bytes. That the server does not want them any more shows in what it says.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let _ = soon("the server takes it", self.0.write_all(bytes)).await;
    }

    /// The next control frame; none when the connection has ended.
    pub(crate) async fn control(&mut self) -> Option<Frame> {
        loop {
            let frame = soon("a frame", self.frame()).await?;
            if frame.first & 0x08 != 0 {
                return Some(frame);
            }
        }
    }

    async fn frame(&mut self) -> Option<Frame> {
        let first = self.0.read_u8().await.ok()?;
        let length = match self.0.read_u8().await.ok()? {
            126 => self.0.read_u16().await.ok()?.into(),
            127 => usize::try_from(self.0.read_u64().await.ok()?).unwrap(),
            // A mask would show here: servers use none.
            short => short.into(),
        };
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).await.ok()?;
        Some(Frame { first, payload })
    }
}
