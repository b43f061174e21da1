//! Many calls at once, and clients that do not read their answers.

use std::time::Duration;

use poa_core::{Ack, HostBuilder};
use serde_json::json;
use tokio::time::timeout;

use crate::client::{Client, Frame, data, frame, success};
use crate::support::{config, start, start_with};

#[tokio::test]
async fn a_thousand_calls_at_once_are_answered_in_their_order() {
    for ack in [Ack::Memory, Ack::Stored, Ack::Delivered] {
        let on_log = |host: HostBuilder| {
            host.engine::<poa_engine_local::Log>("log", Default::default()).ack(ack)
        };
        let mut server = start_with(config(|_| ()), on_log, 64 << 20).await;
        let mut client = server.client().await;
        let mut calls = Vec::new();
        for number in 0..1000 {
            let text = match number % 3 {
                0 => json!({"call": "ping", "id": "a", "ref": number}).to_string(),
                _ => data("a", number).to_string(),
            };
            calls.extend(frame(0x81, text.as_bytes()));
        }
        client.write(&calls).await;
        for number in 0..1000 {
            assert_eq!(client.answer().await, success(&json!(number)));
        }
        for number in (0..1000).filter(|number| number % 3 != 0) {
            let expected = json!({"n": number}).to_string();
            assert_eq!(server.message().await.payload().bytes(), expected.as_bytes());
        }
    }
}

#[tokio::test]
async fn no_more_is_read_than_may_wait() {
    let config = config(|config| config.max_unanswered = 10);
    let server = start_with(config, |host| host.ack(Ack::Delivered), 64 << 20).await;
    server.open.send_replace(false);
    let mut client = server.client().await;
    for number in 0..1000 {
        client.text(&data("a", number).to_string()).await;
    }
    assert!(timeout(Duration::from_millis(300), client.next()).await.is_err());
    assert!(server.counts(r#"poa_receiver_backlog_messages{receiver="recorder"} 10"#));
    server.open.send_replace(true);
    for number in 0..1000 {
        assert_eq!(client.answer().await, success(&json!(number)));
    }
}

/// More than all the buffers in between can hold.
const FLOOD: usize = 256 << 20;

#[tokio::test]
async fn a_client_that_does_not_read_its_answers_is_not_read() {
    let server = start().await;
    let mut client = server.client().await;
    // The answers are as long as the calls.
    let ask = format!(r#"{{"call":"ping","id":"a","ref":"{}"}}"#, "x".repeat(1000));
    let questions = frame(0x81, ask.as_bytes()).repeat(10);
    let mut asked = 0;
    while timeout(Duration::from_secs(1), client.write(&questions)).await.is_ok() {
        asked += 10;
        assert!(asked * ask.len() < FLOOD, "the server keeps reading, and buffers the answers");
    }
    for _ in 0..asked {
        assert!(matches!(client.frame().await, Frame::Text(_)));
    }
}

/// One user has nearly all connections of the listener; another one is admitted all the same.
#[tokio::test]
async fn a_user_with_most_of_the_connections_makes_room_for_others() {
    let config = config(|config| config.limits.max_connections = 8);
    let server = start_with(config, |host| host, 64 << 20).await;
    let mut other = Client::open(server.addr, Some("bound")).await;
    let mut greedy = Vec::new();
    for _ in 0..7 {
        greedy.push(Client::open(server.addr, Some("valid")).await);
    }
    let mut newcomer = Client::open(server.addr, Some("bound")).await;
    newcomer.text(r#"{"call":"ping","id":"agent1"}"#).await;
    assert_eq!(newcomer.answer().await, success(&json!(null)));
    other.text(r#"{"call":"ping","id":"agent1"}"#).await;
    assert_eq!(other.answer().await, success(&json!(null)));
    // The greedy user's youngest connection was closed with the reason.
    assert_eq!(greedy.pop().unwrap().next().await, Frame::Close(1013));
}
