//! The handshake, and the connection after it.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::Full;
use hyper::{Request, Response};
use poa_core::MemoryBudget;
use poa_http::websocket::{CloseCode, Message, Options, WebSocket, upgrade};
use poa_http::{Body, Limits, Tls};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::{Client, limits, post, soon, start, start_with};
use crate::tls::{client_config, connect};

const MAX_MESSAGE: usize = 100_000;

/// A write that takes this long waits for the other side.
const STUCK: Duration = Duration::from_secs(1);

/// Echoes everything.
pub(crate) fn answer(
    mut request: Request<Body>,
    memory: &MemoryBudget,
    shutdown: CancellationToken,
) -> Response<Full<Bytes>> {
    let options = Options::default().max_message(MAX_MESSAGE).memory(memory.clone());
    let options = options.protocol("one").protocol("two");
    match upgrade(&mut request, &options, |socket| echo(socket, shutdown)) {
        Ok(switching) => switching.map(|()| Full::default()),
        Err(refused) => refused.answer().map(Full::from),
    }
}

async fn echo(mut socket: WebSocket, shutdown: CancellationToken) {
    let code = loop {
        let message = tokio::select! {
            () = shutdown.cancelled() => break CloseCode::GOING_AWAY,
            message = socket.next() => message,
        };
        match message {
            Some(Ok(Message::Text(text))) if text.as_ref() == b"panic" => panic!("as told"),
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                socket.send(message).await.unwrap();
            }
            Some(Ok(Message::Ping | Message::Pong)) => {}
            _ => break CloseCode::NORMAL,
        }
    };
    socket.close_with(code, "goodbye").await;
}

fn handshake(change: impl FnOnce(String) -> String) -> String {
    change(
        "GET /ws HTTP/1.1\r\nhost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            .to_owned(),
    )
}

/// A frame from a client, masked with zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
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

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    async fn open(&mut self) {
        self.send(handshake(|text| text)).await;
        let answer = self.answer().await;
        assert_eq!(answer.status, 101, "{}", answer.head);
        assert!(answer.head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{}", answer.head);
    }

    /// The first byte of a short frame, and its payload.
    async fn frame(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        soon(self.stream().read_exact(&mut head)).await.unwrap();
        assert!(head[1] < 126, "a short frame without a mask");
        let mut payload = vec![0; head[1].into()];
        soon(self.stream().read_exact(&mut payload)).await.unwrap();
        (head[0], payload)
    }

    /// Waits for a close frame and the end of the connection.
    async fn closed_with(&mut self, code: u16) {
        let (first, payload) = self.frame().await;
        assert_eq!((first, &payload[..2]), (0x88, &code.to_be_bytes()[..]));
        // The server still reads what a client was busy sending.
        let _ = self.try_send(frame(0x88, &code.to_be_bytes())).await;
        assert_eq!(self.end().await, "");
    }
}

#[tokio::test]
async fn exchanges_messages_until_either_side_closes() {
    let server = start(Limits::default());
    let mut client = server.client().await;
    // The first frame arrives together with the request.
    client.send([handshake(|text| text).into_bytes(), frame(0x81, b"early")].concat()).await;
    assert_eq!(client.answer().await.status, 101);
    assert_eq!(client.frame().await, (0x81, b"early".to_vec()));
    client.send(frame(0x89, b"alive?")).await;
    assert_eq!(client.frame().await, (0x8a, b"alive?".to_vec()));
    client.send([frame(0x02, b"in "), frame(0x89, b""), frame(0x80, b"pieces")].concat()).await;
    assert_eq!(client.frame().await, (0x8a, vec![]));
    assert_eq!(client.frame().await, (0x82, b"in pieces".to_vec()));
    client.send(frame(0x88, &1000u16.to_be_bytes())).await;
    client.closed_with(1000).await;
    soon(async {
        while !server.counts(r#"poa_http_connections{handler="test"} 0"#) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_answer_between_the_parts_costs_no_part_of_a_message() {
    let server = start(Limits::default());
    let mut client = server.client().await;
    client.open().await;
    let whole = frame(0x82, b"whole");
    let pieces = [frame(0x02, b"in "), frame(0x80, b"pieces")];
    let mut rounds: Vec<_> =
        (0..=whole.len()).map(|at| (whole[..at].to_vec(), &whole[at..], &b"whole"[..])).collect();
    rounds.push((pieces[0].clone(), &pieces[1][..], b"in pieces"));
    rounds.push((Vec::new(), &whole, b"whole"));
    for (begin, rest, message) in rounds {
        client.send([frame(0x81, b"before"), begin].concat()).await;
        assert_eq!(client.frame().await, (0x81, b"before".to_vec()));
        client.send(rest).await;
        assert_eq!(client.frame().await, (0x82, message.to_vec()));
    }
}

#[tokio::test]
async fn an_invalid_handshake_is_answered_with_the_required_one() {
    let server = start(Limits::default());
    let refused = [
        ("GET", "POST", 405, "allow: GET"),
        ("GET", "PUT", 405, "allow: GET"),
        ("Upgrade: WebSocket\r\n", "", 426, "upgrade: websocket"),
        ("Connection: keep-alive, Upgrade\r\n", "", 426, "connection: upgrade"),
        ("Version: 13", "Version: 8", 426, "sec-websocket-version: 13"),
        ("Sec-WebSocket-Version: 13\r\n", "", 426, "sec-websocket-version: 13"),
        ("HTTP/1.1", "HTTP/1.0", 426, "upgrade: websocket"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZQ==", 400, "content-type: application/json"),
    ];
    for (right, wrong, status, header) in refused {
        let mut client = server.client().await;
        client.send(handshake(|text| text.replace(right, wrong))).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, status, "{wrong}: {}", answer.body);
        assert!(answer.has(header), "{}", answer.head);
    }
    let mut client = server.client().await;
    let wants = "Sec-WebSocket-Protocol: three, two, one\r\n\r\n";
    client.send(handshake(|text| text.replace("\r\n\r\n", &format!("\r\n{wants}")))).await;
    assert!(client.answer().await.has("sec-websocket-protocol: two"));
}

#[tokio::test]
async fn a_client_that_violates_the_protocol_is_told_the_rule() {
    let server = start(Limits::default());
    let unmasked = vec![0x81, 0x00];
    let too_large = frame(0x82, &vec![0; MAX_MESSAGE + 1]);
    let in_pieces = [frame(0x02, &vec![0; MAX_MESSAGE]), frame(0x80, b"more")].concat();
    for (bytes, code) in [
        (unmasked, 1002),
        (frame(0xc1, b""), 1002),
        (frame(0x83, b""), 1002),
        (frame(0x81, b"\xff"), 1007),
        (too_large, 1009),
        (in_pieces, 1009),
    ] {
        let mut client = server.client().await;
        client.open().await;
        client.send(&bytes).await;
        client.closed_with(code).await;
    }
}

#[tokio::test]
async fn memory_for_large_messages_is_reserved_as_they_arrive() {
    let memory = MemoryBudget::new(50_000);
    let server = start_with(Limits::default(), None, memory.clone());
    let mut one = server.client().await;
    one.open().await;
    let large = frame(0x82, &vec![7; 45_000]);
    one.send(&large[..40_000]).await;
    soon(async {
        while memory.used() < 40_000 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut other = server.client().await;
    other.open().await;
    other.send(&large).await;
    other.closed_with(1013).await;
    one.send(&large[40_000..]).await;
    let mut echoed = vec![0; 4 + 45_000];
    soon(one.stream().read_exact(&mut echoed)).await.unwrap();
    assert!(echoed[4..] == large[8..], "as it was sent");
    one.send(frame(0x81, b"done")).await;
    assert_eq!(one.frame().await.1, b"done");
    assert_eq!(memory.used(), 0);
}

#[tokio::test]
async fn a_ping_between_the_parts_of_a_message_releases_nothing() {
    const PART: usize = 20_000;
    let memory = MemoryBudget::new(1 << 20);
    let server = start_with(Limits::default(), None, memory.clone());
    let mut client = server.client().await;
    client.open().await;
    client.send(frame(0x02, &[7; PART])).await;
    for parts in 1..4 {
        // Once it is answered, everything before it has been read.
        client.send(frame(0x89, b"in between")).await;
        assert_eq!(client.frame().await, (0x8a, b"in between".to_vec()));
        let used = memory.used();
        assert!(used >= (parts * PART) as u64, "{used} bytes are reserved for {parts} parts");
        client.send(frame(0x00, &[7; PART])).await;
    }
    client.send(frame(0x80, b"end")).await;
    let mut echoed = vec![0; 10 + 4 * PART + 3];
    soon(client.stream().read_exact(&mut echoed)).await.unwrap();
    client.send(frame(0x81, b"done")).await;
    assert_eq!(client.frame().await.1, b"done");
    assert_eq!(memory.used(), 0);
}

#[tokio::test]
async fn pings_alone_cost_nothing() {
    let memory = MemoryBudget::new(1 << 20);
    let server = start_with(Limits::default(), None, memory.clone());
    let mut client = server.client().await;
    client.open().await;
    for _ in 0..500 {
        client.send(frame(0x89, &[b'x'; 125])).await;
        assert_eq!(client.frame().await.0, 0x8a);
    }
    assert_eq!(memory.used(), 0);
}

#[tokio::test]
async fn sessions_count_as_connections_and_end_with_the_server() {
    let server = start(limits(|limits| limits.max_connections = 2));
    let (mut one, mut two) = (server.client().await, server.client().await);
    one.open().await;
    two.open().await;
    let mut waiting = server.client().await;
    waiting.send(post("/echo", "x")).await;
    two.send(frame(0x81, b"panic")).await;
    assert_eq!(two.end().await, "");
    assert_eq!(waiting.answer().await.status, 200);
    server.shutdown.cancel();
    one.closed_with(1001).await;
    soon(server.task).await.unwrap();
}

#[tokio::test]
async fn a_dropped_server_drops_its_sessions() {
    let server = start(Limits::default());
    let mut client = server.client().await;
    client.open().await;
    client.send(frame(0x81, b"x")).await;
    client.frame().await;
    server.task.abort();
    assert_eq!(client.end().await, "");
    assert!(server.counts(r#"poa_http_connections{handler="test"} 0"#));
}

#[tokio::test]
async fn speaks_over_tls() {
    let server = start_with(Limits::default(), Some(&Tls::SelfSigned), MemoryBudget::new(1 << 20));
    let cert = server.dir.path().join("test.cert.pem");
    let config = client_config(&cert, &rustls::version::TLS13);
    let mut client = connect(server.addr, "localhost", config).await;
    client.open().await;
    client.send(frame(0x81, b"secret")).await;
    assert_eq!(client.frame().await.1, b"secret");
    client.send(frame(0x88, &1000u16.to_be_bytes())).await;
    client.closed_with(1000).await;
}

/// More than all the buffers in between can hold.
const FLOOD: usize = 256 << 20;

#[tokio::test]
async fn a_client_that_does_not_read_is_not_read() {
    let server = start(Limits::default());
    let mut client = server.client().await;
    client.open().await;
    let pings = frame(0x89, &[b'x'; 125]).repeat(1000);
    let mut sent = 0;
    while let Ok(written) =
        timeout(STUCK, client.stream().write(&pings[sent % pings.len()..])).await
    {
        sent += written.unwrap();
        assert!(sent < FLOOD, "the server reads everything, and buffers its answers");
    }
}
