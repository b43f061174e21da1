//! Authorisation, and its end.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Client, Frame, data, frame, ping, refused, success};
use crate::support::{Heard, config, start, start_with};

fn session(user: &str, password: &str) -> String {
    json!({"call": "session", "user": user, "password": password}).to_string()
}

#[tokio::test]
async fn a_wrong_token_is_refused_without_upgrade() {
    let server = start().await;
    for (path, token, status, word) in [
        ("/", None, 404, "not_found"),
        ("/ws", Some("wrong"), 401, r#"{"error":"unauthorized"}"#),
        ("/ws", Some("busy"), 503, "retry-after"),
    ] {
        let mut client = Client::connect(server.addr).await;
        let (found, answer) = client.upgrade(path, token).await;
        assert_eq!(found, status, "{answer}");
        assert!(answer.contains(word), "{answer}");
    }
    server.users.expire("valid");
    let (status, answer) = Client::connect(server.addr).await.upgrade("/ws", Some("valid")).await;
    assert_eq!(status, 401);
    assert!(answer.ends_with(r#"{"error":"token_expired"}"#), "{answer}");
    assert!(
        server.counts(r#"poa_handler_requests_total{handler="ws",call="upgrade",status="401"} 2"#)
    );
}

#[tokio::test]
async fn a_session_permits_what_a_token_would() {
    let server = start().await;
    let mut client = Client::open(server.addr, None).await;
    assert_eq!(refused(&client.call(&ping("a")).await), (401, "unauthorized"));
    let wrong = json!({"call": "session", "user": "alice", "password": "wrong"});
    assert_eq!(refused(&client.call(&wrong).await), (401, "unauthorized"));
    // Pipelined: calls after a `session` call have its authorisation, including the size limit.
    let session = json!({"call": "session", "user": "alice", "password": "right"});
    client.text(&session.to_string()).await;
    let mut large = data("a", 1);
    large["data"]["more"] = "x".repeat(100_000).into();
    client.text(&large.to_string()).await;
    assert_eq!(client.answer().await["payload"]["token"], "of-alice");
    assert_eq!(client.answer().await, success(&json!(1)));
}

#[tokio::test]
async fn an_unauthenticated_client_may_send_only_small_messages() {
    let server = start().await;
    let mut client = Client::open(server.addr, None).await;
    client.text(&"x".repeat(16 * 1024 + 1)).await;
    assert_eq!(client.frame().await, Frame::Close(1009));
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_session_is_closed_in_time() {
    let server = start().await;
    let mut client = Client::open(server.addr, None).await;
    let begin = tokio::time::Instant::now();
    assert_eq!(client.next().await, Frame::Close(4401));
    let waited = begin.elapsed();
    assert!(waited >= Duration::from_secs(5) && waited < Duration::from_secs(6), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_being_opened_is_waited_for() {
    let server = start().await;
    let mut client = Client::open(server.addr, None).await;
    client.text(r#"{"call": "session", "user": "slow", "password": "right"}"#).await;
    assert!(tokio::time::timeout(Duration::from_secs(12), client.next()).await.is_err());
    server.users.gate.notify_one();
    assert_eq!(client.answer().await["payload"]["token"], "of-slow");
}

#[tokio::test(start_paused = true)]
async fn a_login_in_progress_at_the_deadline_is_the_last() {
    let server = start().await;
    let mut client = Client::open(server.addr, None).await;
    for word in ["wrong", "right"] {
        client.text(&session("slow", word)).await;
    }
    assert!(tokio::time::timeout(Duration::from_secs(12), client.next()).await.is_err());
    server.users.gate.notify_one();
    assert_eq!(refused(&client.answer().await), (401, "unauthorized"));
    assert_eq!(client.next().await, Frame::Close(4401));
}

#[tokio::test]
async fn a_login_that_is_too_long_is_refused() {
    let server = start().await;
    let mut client = server.client().await;
    for (length, status) in [(1000, 401), (1_000_000, 401)] {
        client.text(&session("alice", &"x".repeat(length))).await;
        assert_eq!(refused(&client.answer().await).0, status);
    }
    assert_eq!(server.users.logins(), 1, "a login that is too long is not even checked");
}

#[tokio::test]
async fn a_user_bound_to_an_agent_may_send_for_no_other() {
    let server = start().await;
    let mut client = Client::open(server.addr, Some("bound")).await;
    assert_eq!(client.call(&ping("agent1")).await, success(&Value::Null));
    for call in [ping("agent2"), data("agent2", 1), json!({"call": "bye", "id": "agent2"})] {
        assert_eq!(refused(&client.call(&call).await), (403, "agent_mismatch"));
    }
}

#[tokio::test]
async fn a_revoked_token_closes_its_connections_and_no_other() {
    let mut server = start().await;
    let mut client = server.client().await;
    let mut other = Client::open(server.addr, Some("bound")).await;
    client.call(&ping("a")).await;
    server.hears_of("a", true).await;
    server.users.revoke("valid");
    assert_eq!(client.frame().await, Frame::Close(4401));
    server.hears_of("a", false).await;
    assert_eq!(other.call(&ping("agent1")).await, success(&Value::Null));
}

#[tokio::test]
async fn calls_after_a_revocation_are_refused_however_soon() {
    let server = start().await;
    let mut client = server.client().await;
    assert_eq!(client.call(&data("a", 1)).await, success(&json!(1)));
    // The server may see both at the same time, in either order.
    let call = frame(0x81, data("a", 2).to_string().as_bytes());
    assert_eq!(client.try_write(&call), call.len());
    server.users.revoke("valid");
    loop {
        match client.frame().await {
            Frame::Text(answer) => assert!(answer.contains(r#""status":401"#), "{answer}"),
            other => break assert_eq!(other, Frame::Close(4401)),
        }
    }
    let heard = server.stop().await;
    let taken = heard.iter().filter(|heard| matches!(heard, Heard::Message(_))).count();
    assert_eq!(taken, 1, "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_is_replaced_by_a_session_or_closes_the_connection() {
    let server = start().await;
    let (mut renewed, mut ended, mut silent) =
        (server.client().await, server.client().await, server.client().await);
    server.users.expire("valid");
    // A token that was verified a moment ago is trusted for this long.
    tokio::time::advance(Duration::from_secs(1)).await;
    for client in [&mut renewed, &mut ended] {
        assert_eq!(refused(&client.call(&ping("a")).await), (401, "token_expired"));
    }
    renewed.call(&json!({"call": "session", "user": "alice", "password": "right"})).await;
    assert_eq!(ended.next().await, Frame::Close(4401));
    assert_eq!(renewed.call(&ping("a")).await, success(&Value::Null));
    assert_eq!(silent.next().await, Frame::Ping);
    assert_eq!(silent.next().await, Frame::Close(4401));
}

#[tokio::test]
async fn anonymous_mode_accepts_every_agent() {
    let server = start_with(config(|config| config.anonymous = true), |host| host, 1 << 20).await;
    let mut client = Client::open(server.addr, None).await;
    assert_eq!(client.call(&ping("a")).await, success(&Value::Null));
    let (status, _) = Client::connect(server.addr).await.upgrade("/ws", Some("whatever")).await;
    assert_eq!(status, 101);
}

#[tokio::test]
async fn anonymous_mode_refuses_web_pages() {
    let page = "origin: http://elsewhere.example\r\n";
    let server = start_with(config(|config| config.anonymous = true), |host| host, 1 << 20).await;
    let (status, answer) = Client::connect(server.addr).await.upgrade_with("/ws", page).await;
    assert_eq!(status, 403);
    assert!(answer.contains(r#""error":"from_page""#), "{answer}");
    assert!(
        server.counts(r#"poa_handler_requests_total{handler="ws",call="upgrade",status="403"} 1"#)
    );
    // With a token, a page is treated as any other client.
    let server = start().await;
    let page = format!("authorization: Bearer valid\r\n{page}");
    let (status, _) = Client::connect(server.addr).await.upgrade_with("/ws", &page).await;
    assert_eq!(status, 101);
}
