use std::time::Instant;

use poa_core::config::Duration;
use poa_http::Limits;

use crate::support::{limits, start};

const SHORT: Duration = Duration::from_millis(200);

/// Only the timeout under test is short: an early end can only be caused by it.
fn long_but(change: impl FnOnce(&mut Limits)) -> Limits {
    limits(|limits| {
        limits.header_timeout = Duration::from_secs(3600);
        limits.body_timeout = Duration::from_secs(3600);
        limits.request_timeout = Duration::from_secs(3600);
        limits.idle_timeout = Duration::from_secs(3600);
        change(limits);
    })
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_off() {
    let server = start(long_but(|limits| limits.header_timeout = SHORT));
    let mut client = server.client().await;
    // The first request must not affect the time of the second.
    assert_eq!(client.post("/echo", "x").await.status, 200);
    let begin = Instant::now();
    client.send("POST /echo HTTP/1.1\r\nhost").await;
    assert_eq!(client.end().await, "");
    assert!(begin.elapsed() >= SHORT.get());
    assert!(server.counts(r#"poa_http_timeouts_total{handler="test"} 1"#));
}

#[tokio::test]
async fn a_body_that_stalls_is_refused() {
    let server = start(long_but(|limits| limits.body_timeout = SHORT));
    let mut client = server.client().await;
    client.send("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf").await;
    let answer = client.answer().await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (408, "the body did not arrive within 200ms")
    );
    assert!(answer.has("connection: close"), "{}", answer.head);
    assert_eq!(client.end().await, "");
}

#[tokio::test]
async fn a_body_that_drips_is_refused_too() {
    let server = start(long_but(|limits| limits.body_timeout = SHORT));
    let mut client = server.client().await;
    client.send("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n").await;
    let mut drip = tokio::time::interval(std::time::Duration::from_millis(20));
    let answer = loop {
        tokio::select! {
            answer = client.answer() => break answer,
            _ = drip.tick() => {}
        }
        client.send("x").await;
    };
    assert_eq!(answer.status, 408);
}

/// The server waits for the rest of a small body to keep the connection; this one is not kept.
#[tokio::test]
async fn a_drip_after_a_refusal_of_the_head_holds_no_connection() {
    let server = start(long_but(|limits| limits.body_timeout = SHORT));
    let mut client = server.client().await;
    client.send("POST /echo HTTP/1.1\r\ncontent-length: 1000\r\n\r\n").await;
    let answer = client.answer().await;
    assert!(answer.status == 400 && answer.has("connection: close"), "{answer:?}");
    let begin = Instant::now();
    let mut drip = tokio::time::interval(std::time::Duration::from_millis(20));
    while client.try_send("x").await.is_ok() {
        drip.tick().await;
        assert!(begin.elapsed().as_secs() < 60, "the connection is still there");
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let server = start(long_but(|limits| limits.idle_timeout = SHORT));
    let mut used = server.client().await;
    let mut silent = server.client().await;
    assert_eq!(used.post("/echo", "x").await.status, 200);
    let begin = Instant::now();
    assert_eq!(silent.end().await, "");
    assert_eq!(used.end().await, "");
    assert!(begin.elapsed() >= SHORT.get() / 2);
    assert!(server.counts(r#"poa_http_timeouts_total{handler="test"} 0"#));
}

#[tokio::test]
async fn a_response_that_takes_too_long_is_abandoned() {
    let server = start(long_but(|limits| limits.request_timeout = SHORT));
    let mut client = server.client().await;
    let answer = client.post("/gate", "").await;
    assert_eq!(answer.status, 503);
    assert!(answer.has("retry-after: 5") && answer.body.contains("timeout"), "{answer:?}");
    assert_eq!(client.post("/echo", "next").await.body, "next");
    assert!(server.counts(r#"poa_http_timeouts_total{handler="test"} 1"#));
}

#[tokio::test]
async fn a_client_that_never_reads_is_cut_off() {
    let server = start(long_but(|limits| {
        limits.idle_timeout = SHORT;
        limits.request_timeout = SHORT;
    }));
    let mut client = server.client().await;
    let request = crate::support::post("/echo", &"x".repeat(1 << 20));
    while client.try_send(&request).await.is_ok() {}
}

#[tokio::test]
async fn two_thousand_idle_connections_do_not_affect_others() {
    let server = start(long_but(|_| {}));
    let mut idle = Vec::new();
    for n in 0..2000 {
        let mut client = server.client().await;
        match n % 3 {
            0 => {}
            1 => client.send("POST /echo HT").await,
            _ => {
                client.send("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nxxx").await
            }
        }
        idle.push(client);
    }
    let mut client = server.client().await;
    for _ in 0..100 {
        assert_eq!(client.post("/echo", "x").await.status, 200);
    }
    assert!(server.counts(r#"poa_http_connections{handler="test"} 2001"#));
}
