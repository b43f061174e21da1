//! The ends of connections, and the answers sent before.

use poa_core::Ack;
use serde_json::{Value, json};

use crate::client::{Client, Frame, data, frame, ping, refused, success};
use crate::support::{Heard, config, soon, start, start_with};

#[tokio::test]
async fn ten_messages_in_a_row_that_are_not_calls_close_the_connection() {
    let server = start().await;
    let mut client = server.client().await;
    for unreadable in ["{", "[]", "", "7", "{]", "null", "\"", "{\"a\":", "[1"] {
        client.text(unreadable).await;
        assert!(matches!(refused(&client.answer().await).0, 400 | 422), "{unreadable}");
    }
    // A call, even one that is refused, resets the count.
    client.call(&json!({"call": "pong"})).await;
    for _ in 0..9 {
        client.write(&frame(0x82, b"\xc1")).await;
        assert!(matches!(client.frame().await, Frame::Binary(_)));
    }
    assert_eq!(client.call(&ping("a")).await, success(&Value::Null));
    for _ in 0..10 {
        client.text("{").await;
    }
    client.text(&ping("a").to_string()).await;
    for _ in 0..10 {
        assert_eq!(refused(&client.answer().await), (400, "malformed_body"));
    }
    assert_eq!(client.frame().await, Frame::Close(1008));
}

#[tokio::test]
async fn a_message_over_the_limit_is_1009() {
    let config = config(|config| config.limits.body = poa_core::config::Size::bytes(1000));
    let server = start_with(config, |host| host, 1 << 20).await;
    let mut client = server.client().await;
    let mut call = data("a", 1);
    call["data"]["more"] = "x".repeat(1000 - call.to_string().len() - 10).into();
    assert_eq!(call.to_string().len(), 1000);
    assert_eq!(client.call(&call).await, success(&json!(1)));
    client.text(&format!("{call} ")).await;
    assert_eq!(client.frame().await, Frame::Close(1009));
}

#[tokio::test]
async fn a_protocol_violation_is_1002_and_invalid_utf8_is_1007() {
    let server = start().await;
    for (bytes, code) in [(vec![0x81, 0x01, b'x'], 1002), (frame(0x81, b"\xff"), 1007)] {
        let mut client = server.client().await;
        client.write(&bytes).await;
        assert_eq!(client.frame().await, Frame::Close(code));
    }
}

#[tokio::test]
async fn on_a_stop_calls_in_flight_are_answered_first() {
    let server = start_with(config(|_| ()), |host| host.ack(Ack::Delivered), 64 << 20).await;
    server.open.send_replace(false);
    let (mut idle, mut busy) = (server.client().await, server.client().await);
    for number in 0..3 {
        busy.text(&data("a", number).to_string()).await;
    }
    // They are in flight once this connection, which sent later, is answered.
    let mut other = server.client().await;
    soon(async {
        while !server.counts(r#"poa_receiver_backlog_messages{receiver="recorder"} 3"#) {
            assert_eq!(other.call(&ping("b")).await, success(&Value::Null));
        }
    })
    .await;
    let open = server.open.clone();
    let stopped = tokio::spawn(server.host.stop());
    assert_eq!(idle.frame().await, Frame::Close(1001));
    assert_eq!(other.frame().await, Frame::Close(1001));
    busy.text(&data("a", 99).to_string()).await;
    open.send_replace(true);
    for number in 0..3 {
        assert_eq!(busy.answer().await, success(&json!(number)));
    }
    assert_eq!(busy.frame().await, Frame::Close(1001));
    for client in [&mut idle, &mut busy, &mut other] {
        client.write(&frame(0x88, &1001u16.to_be_bytes())).await;
    }
    assert!(soon(stopped).await.unwrap().is_clean());
    assert!(tokio::net::TcpStream::connect(server.addr).await.is_err());
}

#[tokio::test]
async fn a_stopped_handler_reports_its_agents_as_inactive() {
    let mut server = start().await;
    let mut client = server.client().await;
    client.call(&ping("a")).await;
    server.hears_of("a", true).await;
    let (stopped, closed) = tokio::join!(server.stop(), async {
        let closed = client.frame().await;
        client.write(&frame(0x88, &1001u16.to_be_bytes())).await;
        closed
    });
    assert_eq!(closed, Frame::Close(1001));
    assert!(matches!(&stopped[..], [Heard::Activity(agent, false)] if agent == "a"), "{stopped:?}");
}

#[tokio::test]
async fn the_memory_of_all_messages_in_flight_is_limited() {
    let small = |host: poa_core::HostBuilder| host.memory_limit(100_000);
    let server = start_with(config(|_| ()), small, 64 << 20).await;
    let large = frame(0x81, &vec![b' '; 90_000]);
    let mut one = server.client().await;
    one.write(&large[..80_000]).await;
    let mut other: Client = server.client().await;
    soon(async {
        loop {
            other = server.client().await;
            other.write(&large).await;
            match other.frame().await {
                Frame::Close(code) => break assert_eq!(code, 1013),
                answered => assert!(matches!(answered, Frame::Text(_))),
            }
        }
    })
    .await;
    one.write(&large[80_000..]).await;
    assert_eq!(refused(&one.answer().await), (400, "malformed_body"));
}
