//! HTTP/1.1 as it stands on the wire: a client that sends what it is told, right or wrong.

use std::io;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A request to be put together.
#[derive(Clone, Debug)]
pub struct Request {
    head: String,
    body: Option<Vec<u8>>,
    chunked: bool,
}

impl Request {
    /// A request without headers but `host`.
    #[must_use]
    pub fn new(method: &str, path: &str) -> Self {
        let head = format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n");
        Self { head, body: None, chunked: false }
    }

    /// A POST with this token.
    #[must_use]
    pub fn post(path: &str, token: &str) -> Self {
        Self::new("POST", path).header("authorization", &format!("Bearer {token}"))
    }

    /// The same with one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.chunked |= name.eq_ignore_ascii_case("transfer-encoding");
        self.head.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    /// The same with a body, and its `content-length` unless the body is said to be chunked, and then is.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// The same with a body of JSON.
    #[must_use]
    pub fn json(self, body: &str) -> Self {
        self.header("content-type", "application/json").body(body)
    }

    /// The same with a body of MessagePack.
    #[must_use]
    pub fn msgpack(self, body: impl Into<Vec<u8>>) -> Self {
        self.header("content-type", "application/msgpack").body(body)
    }

    /// The bytes on the wire.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head.clone().into_bytes();
        if let (Some(body), false) = (&self.body, self.chunked) {
            bytes.extend(format!("content-length: {}\r\n", body.len()).into_bytes());
        }
        bytes.extend(b"\r\n");
        bytes.extend(self.body.as_deref().unwrap_or_default());
        bytes
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// First line and headers.
    pub head: String,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    /// Bytes that were read and not used yet.
    read: Vec<u8>,
}

impl Client {
    /// Connects to `address:port`.
    ///
    /// # Errors
    /// When no server listens at the address.
    pub async fn connect(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::new() })
    }

    /// Sends these bytes.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// When the connection is lost before the answer is complete.
    pub async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.send(request).await?;
        if request.starts_with(b"HEAD ") {
            self.answer_to_head().await
        } else {
            self.answer().await
        }
    }

    /// The next answer; `100 Continue` is skipped.
    ///
    /// # Errors
    /// When the connection is lost before the answer is complete.
    pub async fn answer(&mut self) -> io::Result<Answer> {
        loop {
            let mut answer = self.answer_to_head().await?;
            let length =
                answer.header("content-length").map_or(0, |length| length.parse().unwrap());
            while self.read.len() < length {
                self.fill().await?;
            }
            let body = self.read.drain(..length).collect();
            answer.body = String::from_utf8(body).unwrap();
            if answer.status != 100 {
                return Ok(answer);
            }
        }
    }

    /// The next answer, which has no body.
    async fn answer_to_head(&mut self) -> io::Result<Answer> {
        let end = loop {
            match self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(end) => break end + 4,
                None => self.fill().await?,
            }
        };
        let head = String::from_utf8(self.read.drain(..end).collect()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Ok(Answer { status, head, body: String::new() })
    }

    async fn fill(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.read).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Waits until the server closes the connection; what it sent before.
    ///
    /// # Errors
    /// When the connection is lost in another way.
    pub async fn end(&mut self) -> io::Result<String> {
        while self.stream.read_buf(&mut self.read).await? != 0 {}
        Ok(String::from_utf8_lossy(&self.read).into_owned())
    }
}
