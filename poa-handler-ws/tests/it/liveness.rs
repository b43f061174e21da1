//! Agents are active as long as their connection is open; silent connections are dropped.

use std::time::Duration;

use poa_core::{Ack, HostBuilder};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::client::{Client, Frame, data, frame, ping, success};
use crate::support::{Heard, config, start, start_with};

#[tokio::test]
async fn agents_become_inactive_when_their_connection_ends() {
    let mut server = start().await;
    let mut client = server.client().await;
    for agent in ["one", "two"] {
        client.call(&ping(agent)).await;
        server.hears_of(agent, true).await;
    }
    client.call(&json!({"call": "bye", "id": "two"})).await;
    server.hears_of("two", false).await;
    // A gateway whose connection is cut off.
    drop(client);
    server.hears_of("one", false).await;

    let mut client = server.client().await;
    client.call(&data("sends only", 1)).await;
    assert!(matches!(server.hear().await, Heard::Message(_)));
    client.write(&frame(0x88, &1000u16.to_be_bytes())).await;
    assert_eq!(client.frame().await, Frame::Close(1000));
    server.hears_of("sends only", false).await;
}

#[tokio::test]
async fn an_agent_heard_elsewhere_since_stays_active() {
    let mut server = start().await;
    let (mut old, mut new) = (server.client().await, server.client().await);
    old.call(&ping("a")).await;
    server.hears_of("a", true).await;
    new.call(&ping("a")).await;
    drop(old);
    // Its end is known once its slot is free.
    crate::support::soon(async {
        while !server.counts(r#"poa_http_connections{handler="ws"} 1"#) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    new.call(&ping("b")).await;
    server.hears_of("b", true).await;
    drop(new);
    let mut gone = Vec::new();
    for _ in 0..2 {
        let Heard::Activity(agent, false) = server.hear().await else { panic!("active") };
        gone.push(agent);
    }
    gone.sort();
    assert_eq!(gone, ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_stops_pinging_is_inactive_though_its_connection_stays() {
    let mut server = start().await;
    let mut client = server.client().await;
    client.call(&ping("a")).await;
    server.hears_of("a", true).await;
    let begin = Instant::now();
    server.hears_of("a", false).await;
    assert!(begin.elapsed() >= Duration::from_millis(6900), "{:?}", begin.elapsed());
    client.call(&ping("a")).await;
    server.hears_of("a", true).await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_pinged_and_then_dropped() {
    let mut server = start().await;
    let mut client = server.client().await;
    client.call(&data("a", 1)).await;
    assert!(matches!(server.hear().await, Heard::Message(_)));
    let begin = Instant::now();
    assert_eq!(client.next().await, Frame::Ping);
    assert_eq!(begin.elapsed().as_secs_f64().round(), 20.0);
    client.write(&frame(0x8a, b"")).await;
    assert_eq!(client.next().await, Frame::Ping);
    assert_eq!(begin.elapsed().as_secs_f64().round(), 40.0);
    assert_eq!(client.next().await, Frame::End);
    assert_eq!(begin.elapsed().as_secs_f64().round(), 60.0);
    server.hears_of("a", false).await;
    assert!(server.counts(r#"poa_handler_dropped_total{handler="ws"} 1"#));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_trickles_is_refused() {
    let server = start().await;
    let mut client = server.client().await;
    let message = frame(0x81, &vec![b' '; 1000]);
    let mut sent = 0;
    let closed = loop {
        client.write(&message[sent..=sent]).await;
        sent += 1;
        if let Ok(frame) = tokio::time::timeout(Duration::from_secs(3), client.next()).await {
            break frame;
        }
    };
    assert_eq!(closed, Frame::Close(1008));
    assert!((10..=11).contains(&sent), "after {sent} bytes, one each 3 s");
}

#[tokio::test(start_paused = true)]
async fn pings_between_its_parts_do_not_extend_the_time_of_a_message() {
    let server = start().await;
    let mut client = server.client().await;
    client.write(&frame(0x01, b" ")).await;
    let begin = Instant::now();
    let closed = loop {
        client.write(&[frame(0x89, b""), frame(0x00, b" ")].concat()).await;
        let quiet = Instant::now() + Duration::from_secs(3);
        match tokio::time::timeout_at(quiet, client.next()).await {
            Ok(Frame::Pong) => tokio::time::sleep_until(quiet).await,
            Ok(frame) => break frame,
            Err(_) => {}
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "the connection is never closed");
    };
    assert_eq!(closed, Frame::Close(1008));
    assert!(begin.elapsed() >= Duration::from_secs(30), "after {:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn pings_alone_are_not_a_slow_message() {
    let server = start().await;
    let mut client = server.client().await;
    for _ in 0..20 {
        client.write(&frame(0x89, b"alive")).await;
        assert_eq!(client.next().await, Frame::Pong);
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    assert_eq!(client.call(&ping("a")).await, success(&Value::Null));
}

/// A connection that waits for answers that the server owes, with an agent that pinged before, and queued pings.
#[tokio::test(start_paused = true)]
async fn no_agent_is_silent_while_the_server_does_not_read() {
    let waiting = config(|config| config.max_unanswered = 2);
    let delivered = |host: HostBuilder| host.ack(Ack::Delivered);
    let mut server = start_with(waiting, delivered, 64 << 20).await;
    let mut client = server.client().await;
    client.call(&ping("a")).await;
    server.hears_of("a", true).await;
    server.open.send_replace(false);
    for number in 0..2 {
        client.text(&data("b", number).to_string()).await;
    }
    for _ in 0..5 {
        client.text(&ping("a").to_string()).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    server.open.send_replace(true);
    for number in 0..2 {
        assert_eq!(client.answer().await, success(&json!(number)));
        assert!(matches!(server.hear().await, Heard::Message(_)), "an agent was called inactive");
    }
    // From then on, silence counts again.
    for _ in 0..5 {
        assert_eq!(client.answer().await, success(&Value::Null));
    }
    server.hears_of("a", false).await;
}

#[tokio::test]
async fn a_client_that_is_refused_has_no_agents() {
    let mut server = start().await;
    let mut client = Client::open(server.addr, Some("bound")).await;
    client.call(&ping("other")).await;
    client.call(&ping("agent1")).await;
    server.hears_of("agent1", true).await;
    drop(client);
    server.hears_of("agent1", false).await;
    let rest = server.stop().await;
    assert!(rest.is_empty(), "{rest:?}");
}
