//! Requests that are refused before their body is read, and ambiguous heads.

use std::io::Write as _;

use poa_http::Limits;

use crate::support::{limits, start};

/// RFC 9112, section 9.6: a server that closes a connection after a response announces it in the response. The body arrives in a packet
/// of its own, as curl and many others send it.
#[tokio::test]
async fn a_refusal_announces_that_the_connection_closes_or_keeps_it() {
    let server = start(Limits::default());
    for (length, comes) in [(5, true), (4000, true), (5, false), (100_000, true)] {
        let mut client = server.client().await;
        let head = format!("POST /refuse HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
        client.send(head).await;
        tokio::task::yield_now().await;
        if comes {
            let _ = client.try_send("x".repeat(length)).await;
        }
        let answer = client.answer().await;
        assert_eq!(answer.status, 401);
        if answer.has("connection: close") {
            client.stop_sending().await;
            assert_eq!(client.end().await, "", "{length}");
        } else {
            assert_eq!(client.post("/echo", "again").await.body, "again", "{length}");
        }
    }
}

#[tokio::test]
async fn a_small_body_in_a_packet_of_its_own_does_not_cost_the_connection() {
    let server = start(Limits::default());
    let mut client = server.client().await;
    for _ in 0..3 {
        client.send("POST /refuse HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n").await;
        tokio::task::yield_now().await;
        client.send("small").await;
        let answer = client.answer().await;
        assert!(!answer.has("connection: close"), "{}", answer.head);
    }
}

#[tokio::test]
async fn an_ambiguous_head_is_refused_and_the_connection_closed() {
    let server = start(Limits::default());
    let hidden = "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
    for headers in [
        "",
        "host: x\r\nhost: y\r\n",
        "host: x\r\nauthorization: Bearer a\r\nauthorization: Bearer b\r\n",
        "host: x\r\ntransfer-encoding: gzip, chunked\r\n",
        "host: x\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
    ] {
        let mut client = server.client().await;
        client.send(format!("POST /echo HTTP/1.1\r\n{headers}\r\n{hidden}")).await;
        let answer = client.answer().await;
        assert!(answer.status == 400 && answer.has("connection: close"), "{headers}: {answer:?}");
        client.stop_sending().await;
        assert_eq!(client.end().await, "", "{headers}");
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn gzip_is_decoded_within_the_limit_of_a_body() {
    let server = start(limits(|limits| limits.body = poa_core::config::Size::bytes(1_000_000)));
    let mut client = server.client().await;
    let body = "a metric and another ".repeat(20_000);
    for (packed, status) in [
        (gzip(body.as_bytes()), 200),
        ([gzip(b"two "), gzip(b"members")].concat(), 200),
        (Vec::new(), 200),
        // A thousand times as large as the encoded body.
        (gzip(&vec![0; 50_000_000]), 413),
        (b"not gzip".to_vec(), 400),
        (gzip(body.as_bytes())[..500].to_vec(), 400),
    ] {
        let head =
            format!("POST /gzip HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", packed.len());
        client.send([head.as_bytes(), &packed].concat()).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, status, "{}", answer.body);
    }
    assert_eq!(server.shared.memory.used(), 0);
}
