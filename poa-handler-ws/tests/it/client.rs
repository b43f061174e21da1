//! A client that sends raw frames.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::support::soon;

pub(crate) struct Client(BufReader<TcpStream>);

/// The reason why a call got no answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Text(String),
    Binary(Vec<u8>),
    Ping,
    Pong,
    Close(u16),
    /// The connection ended without a close frame.
    End,
}

impl Client {
    /// A WebSocket connection that was opened with this token.
    pub(crate) async fn open(addr: SocketAddr, token: Option<&str>) -> Self {
        let mut client = Self::connect(addr).await;
        let (status, head) = client.upgrade("/ws", token).await;
        assert_eq!(status, 101, "{head}");
        client
    }

    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        // In a test with paused time, no acknowledgement is ever late.
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    /// Requests an upgrade; returns the status, and the head and the body of the response.
    pub(crate) async fn upgrade(&mut self, path: &str, token: Option<&str>) -> (u16, String) {
        let token =
            token.map(|token| format!("authorization: bEARER {token}\r\n")).unwrap_or_default();
        self.upgrade_with(path, &token).await
    }

    /// The same, with these headers.
    pub(crate) async fn upgrade_with(&mut self, path: &str, headers: &str) -> (u16, String) {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n{headers}\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        self.write(request.as_bytes()).await;
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(soon(self.0.read_line(&mut head)).await.unwrap(), 0, "{head}");
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        soon(self.0.read_exact(&mut body)).await.unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head + &String::from_utf8(body).unwrap())
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        soon(self.0.write_all(bytes)).await.unwrap();
    }

    /// Writes bytes to the socket without letting any other task run meanwhile.
    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> usize {
        self.0.get_ref().try_write(bytes).unwrap()
    }

    pub(crate) async fn text(&mut self, text: &str) {
        self.write(&frame(0x81, text.as_bytes())).await;
    }

    /// Makes a call in JSON.
    pub(crate) async fn call(&mut self, call: &Value) -> Value {
        self.text(&call.to_string()).await;
        self.answer().await
    }

    /// Makes a call in MessagePack.
    pub(crate) async fn call_packed(&mut self, call: &Value) -> Value {
        self.write(&frame(0x82, &rmp_serde::to_vec(call).unwrap())).await;
        match self.frame().await {
            Frame::Binary(bytes) => rmp_serde::from_slice(&bytes).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// The next message, which is JSON.
    pub(crate) async fn answer(&mut self) -> Value {
        match self.frame().await {
            Frame::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn frame(&mut self) -> Frame {
        soon(self.next()).await
    }

    /// The next frame, however long it takes.
    pub(crate) async fn next(&mut self) -> Frame {
        let Ok(first) = self.0.read_u8().await else { return Frame::End };
        let length = match self.0.read_u8().await.unwrap() {
            126 => self.0.read_u16().await.unwrap().into(),
            127 => self.0.read_u64().await.unwrap() as usize,
            short => short.into(),
        };
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).await.unwrap();
        match first {
            0x81 => Frame::Text(String::from_utf8(payload).unwrap()),
            0x82 => Frame::Binary(payload),
            0x88 => Frame::Close(u16::from_be_bytes(payload[..2].try_into().unwrap())),
            0x89 => Frame::Ping,
            0x8a => Frame::Pong,
            other => panic!("unexpected frame {other:x}"),
        }
    }
}

/// A frame from a client, masked with zeros.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..=125 => frame.push(0x80 | short as u8),
        medium @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((medium as u16).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

pub(crate) fn ping(agent: &str) -> Value {
    json!({"call": "ping", "id": agent})
}

/// A data call with this number in it.
pub(crate) fn data(agent: &str, number: usize) -> Value {
    json!({"call": "data", "id": agent, "type": "system_metrics", "data": {"n": number}, "ref": number})
}

pub(crate) fn success(reference: &Value) -> Value {
    json!({"result": "success", "ref": reference, "payload": {}})
}

/// Status and code of an answer that refuses.
pub(crate) fn refused(answer: &Value) -> (u64, &str) {
    assert_eq!(answer["result"], "error", "{answer}");
    (answer["payload"]["status"].as_u64().unwrap(), answer["payload"]["code"].as_str().unwrap())
}
