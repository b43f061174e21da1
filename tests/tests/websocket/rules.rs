//! RFC 6455, rule by rule, against both servers: what is allowed leaves the connection open, and what is not ends it with the
//! right code.

use poa_tests::{Home, Server, soon, sqlite};

use crate::raw::{Frame, Socket, frame, frame_of_length};

const SECTIONS: &str = "[handlers.ws]\nkind = \"ws\"\nlisten = \"127.0.0.1:0\"\n\
    [receivers.dashboard]\nkind = \"dashboard\"\nlisten = \"127.0.0.1:0\"\nws_secret = \"wssecret\"\n\
    subscribe = [\"system_metrics\"]\n";

const PATH: &str = "/ws";

const FIN: u8 = 0x80;
const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = FIN | 0x8;
const PING: u8 = FIN | 0x9;
const PONG: u8 = FIN | 0xa;

/// The required reaction of a server to some bytes.
#[derive(Clone, Copy, Debug)]
enum Then {
    /// The connection stays open.
    Open,
    /// Close with this code.
    Closed(u16),
}

use Then::{Closed, Open};

struct Case {
    name: String,
    /// Sent one after the other.
    pieces: Vec<Vec<u8>>,
    then: Then,
}

fn case(name: impl Into<String>, then: Then, pieces: impl IntoIterator<Item = Vec<u8>>) -> Case {
    Case { name: name.into(), pieces: pieces.into_iter().collect(), then }
}

fn cases(largest: usize) -> Vec<Case> {
    let groups = [lengths(largest), controls(), fragments(), texts(), heads(), closes()];
    groups.into_iter().flatten().collect()
}

/// Section 5.2: every way to write a length.
fn lengths(largest: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    for length in [0, 1, 125, 126, 127, 128, 4096, 65_535, 65_536] {
        for kind in [TEXT, BINARY] {
            let name = format!("message {kind} of {length} bytes");
            let then = if length > largest { Closed(1009) } else { Open };
            cases.push(case(name, then, [frame(FIN | kind, &vec![b' '; length])]));
        }
    }
    let too_long = [&[127][..], &(5_u64).to_be_bytes()].concat();
    let wordy = [&[126][..], &(5_u16).to_be_bytes()].concat();
    let negative = [&[127][..], &u64::MAX.to_be_bytes()].concat();
    cases.push(case("5 in 16 bits", Closed(1002), [frame_of_length(FIN | TEXT, &wordy, b"hello")]));
    cases.push(case(
        "5 in 64 bits",
        Closed(1002),
        [frame_of_length(FIN | TEXT, &too_long, b"hello")],
    ));
    cases.push(case(
        "more than there can be",
        Closed(1009),
        [frame_of_length(FIN | TEXT, &negative, b"")],
    ));
    let slow = frame(FIN | TEXT, b"  ").into_iter().map(|byte| vec![byte]);
    cases.push(case("byte by byte", Open, slow));
    cases
}

/// Section 5.5: control frames.
fn controls() -> Vec<Case> {
    let mut cases = vec![
        case("unsolicited pongs", Open, [frame(PONG, b""), frame(PONG, b"unasked")]),
        case("a ping of 125 bytes", Open, [frame(PING, &[b'x'; 125])]),
        case("ten pings at once", Open, [frame(PING, b"many").repeat(10)]),
    ];
    for first in [PING, PONG, CLOSE] {
        cases.push(case(
            format!("control {first:x} too large"),
            Closed(1002),
            [frame(first, &[b'x'; 126])],
        ));
        let open_ended = frame(first & !FIN, b"x");
        cases.push(case(format!("control {first:x} in pieces"), Closed(1002), [open_ended]));
    }
    cases
}

/// Section 5.4: messages in pieces.
fn fragments() -> Vec<Case> {
    let pieces = |kind, between: Vec<u8>| {
        let empty = frame(CONTINUATION, b"");
        vec![
            frame(kind, b" "),
            between,
            empty,
            frame(CONTINUATION, b" "),
            frame(FIN | CONTINUATION, b" "),
        ]
    };
    let mut cases = Vec::new();
    for kind in [TEXT, BINARY] {
        cases.push(case(format!("pieces of {kind}"), Open, pieces(kind, Vec::new())));
        cases.push(case(
            format!("a ping between pieces of {kind}"),
            Open,
            pieces(kind, frame(PING, b"x")),
        ));
        cases.push(case(
            format!("a pong between pieces of {kind}"),
            Open,
            pieces(kind, frame(PONG, b"x")),
        ));
        let other = frame(FIN | kind, b" ");
        cases.push(case(
            format!("a message between pieces of {kind}"),
            Closed(1002),
            pieces(kind, other),
        ));
        let close = frame(CLOSE, &1000_u16.to_be_bytes());
        cases.push(case(
            format!("the end between pieces of {kind}"),
            Closed(1000),
            pieces(kind, close),
        ));
    }
    cases.push(case("a piece of nothing", Closed(1002), [frame(FIN | CONTINUATION, b" ")]));
    cases.push(case("a first piece of nothing", Closed(1002), [frame(CONTINUATION, b" ")]));
    let after = [frame(FIN | TEXT, b" "), frame(FIN | CONTINUATION, b" ")];
    cases.push(case("a piece after the end", Closed(1002), after));
    cases
}

/// Section 8.1: texts are UTF-8, whatever the pieces.
fn texts() -> Vec<Case> {
    let mut cases = Vec::new();
    for text in ["κόσμε", "\u{80}\u{7ff}\u{800}\u{ffff}", "\u{10000}\u{10ffff}", "\0"] {
        cases.push(case(format!("{text:?}"), Open, [frame(FIN | TEXT, text.as_bytes())]));
        let (bytes, last) = (text.as_bytes(), text.len() - 1);
        let split =
            (0..last).map(|at| frame(if at == 0 { TEXT } else { CONTINUATION }, &bytes[at..=at]));
        let first = if last == 0 { TEXT } else { CONTINUATION };
        let end = frame(FIN | first, &bytes[last..]);
        cases.push(case(format!("{text:?} cut inside characters"), Open, split.chain([end])));
    }
    let bad: [&[u8]; 10] = [
        b"\x80",
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xfe",
        b"\xff",
        b"\xce",
        b"\xce\xba\xe1\xbd",
    ];
    for bytes in bad {
        cases.push(case(format!("{bytes:x?}"), Closed(1007), [frame(FIN | TEXT, bytes)]));
        let pieces = [frame(TEXT, b"ok"), frame(FIN | CONTINUATION, bytes)];
        cases.push(case(format!("{bytes:x?} in the last piece"), Closed(1007), pieces));
        cases.push(case(format!("{bytes:x?} as no text"), Open, [frame(FIN | BINARY, bytes)]));
    }
    let early = [frame(TEXT, b"\xed\xa0\x80")];
    cases.push(case("no text, before the message has ended", Closed(1007), early));
    cases
}

/// Section 5.2: bits and opcodes that mean nothing yet, and masks.
fn heads() -> Vec<Case> {
    let mut cases = Vec::new();
    for reserved in [0x10, 0x20, 0x40, 0x70] {
        for kind in [FIN | TEXT, PING, CLOSE] {
            let name = format!("reserved bits {reserved:x} with {kind:x}");
            cases.push(case(name, Closed(1002), [frame(reserved | kind, b"")]));
        }
    }
    for opcode in [0x3, 0x4, 0x5, 0x6, 0x7, 0xb, 0xc, 0xd, 0xe, 0xf] {
        cases.push(case(format!("opcode {opcode:x}"), Closed(1002), [frame(FIN | opcode, b"")]));
    }
    cases.push(case("a text without a mask", Closed(1002), [vec![FIN | TEXT, 2, b' ', b' ']]));
    cases.push(case("a ping without a mask", Closed(1002), [vec![PING, 0]]));
    cases
}

/// Section 7.4: how to end.
fn closes() -> Vec<Case> {
    let close =
        |code: u16, reason: &[u8]| frame(CLOSE, &[&code.to_be_bytes()[..], reason].concat());
    let mut cases = Vec::new();
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999] {
        cases.push(case(format!("goodbye {code}"), Closed(code), [close(code, b"")]));
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        cases.push(case(format!("goodbye {code}"), Closed(1002), [close(code, b"")]));
    }
    cases.push(case("a reason", Closed(1000), [close(1000, "späť".as_bytes())]));
    cases.push(case("the longest reason", Closed(1000), [close(1000, &[b'x'; 123])]));
    cases.push(case("half a code", Closed(1002), [frame(CLOSE, b"\x03")]));
    cases.push(case("a reason that is no text", Closed(1007), [close(1000, b"\xff")]));
    let after = [close(1000, b""), frame(FIN | TEXT, b"more"), frame(PING, b"more")];
    cases.push(case("more after the goodbye", Closed(1000), after));
    cases
}

/// Waits for the answer to a last ping, or for the end.
async fn outcome(socket: &mut Socket) -> Option<Frame> {
    const STILL: &[u8] = b"still there?";
    socket.send(&frame(PING, STILL)).await;
    loop {
        let frame = socket.control().await?;
        if frame.first != PONG || frame.payload == STILL {
            return Some(frame);
        }
    }
}

/// A server that takes messages of so many bytes.
async fn obeys(address: &str, header: &str, largest: usize) {
    let mut wrong = Vec::new();
    let cases = cases(largest);
    for Case { name, pieces, then } in &cases {
        let mut socket = Socket::open(address, PATH, header).await;
        for piece in pieces {
            socket.send(piece).await;
        }
        let found = outcome(&mut socket).await;
        let code = found.as_ref().and_then(Frame::close_code);
        let right = match then {
            Open => found.as_ref().is_some_and(|frame| frame.first == PONG),
            Closed(wanted) => code == Some(*wanted),
        };
        if !right {
            wrong.push(format!("{name}: {found:?} instead of {then:?}"));
        }
    }
    println!("{} rules, {} of them broken", cases.len(), wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A goodbye without a code is answered, with a code or without.
async fn answers_a_bare_goodbye(address: &str, header: &str) {
    let mut socket = Socket::open(address, PATH, header).await;
    socket.send(&frame(CLOSE, b"")).await;
    let answer = soon("an answer", socket.control()).await.unwrap();
    assert_eq!(answer.first, CLOSE);
    assert!(socket.control().await.is_none(), "the server closes the connection");
}

async fn start() -> (Home, Server) {
    let home = Home::with(&(sqlite("local", "metrics.db", "") + SECTIONS));
    let server = Server::start(&home).await;
    (home, server)
}

#[tokio::test]
async fn the_handler_obeys() {
    let (_home, server) = start().await;
    let bearer = format!("Authorization: Bearer {}", server.login().await);
    let address = server.address("ws").trim_end_matches("/ws").to_owned();
    obeys(&address, &bearer, 8_000_000).await;
    answers_a_bare_goodbye(&address, &bearer).await;
    server.stop().await;
}

#[tokio::test]
async fn the_dashboard_obeys() {
    let (_home, server) = start().await;
    let address = server.address("dashboard").trim_end_matches('/').to_owned();
    // What clients say to it is ignored, so they may not say much.
    obeys(&address, "wssecret: wssecret", 64 << 10).await;
    answers_a_bare_goodbye(&address, "wssecret: wssecret").await;
    server.stop().await;
}
