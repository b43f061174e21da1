//! `ack = "delivered"`: a positive answer waits for the receivers, also when the message is sent again.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use poa_tests::{Answer, Home, Request, Server, database, numbers, sqlite};
use rusqlite::Connection;

async fn send(server: &Server, token: &str, key: &str, n: usize) -> Answer {
    let body = format!(
        r#"{{"id":"agent","type":"system_metrics","data":{{"type":"t","body":{{"n":{n}}}}}}}"#
    );
    let request = Request::post("/data", token).header("Idempotency-Key", key).json(&body);
    server.ask("rest", &request).await
}

#[tokio::test]
async fn a_message_is_only_delivered_once_it_is_however_often_it_is_sent() {
    let patient =
        "critical = true\nbusy_timeout = \"50ms\"\nretry = { initial = \"20ms\", max = \"200ms\" }";
    let bus = "[bus]\nack = \"delivered\"\ndelivered_within = \"300ms\"\n";
    let home = Home::with(&(sqlite("local", "metrics.db", patient) + bus));
    let server = Server::start(&home).await;
    let token = server.login().await;
    let lock = Connection::open(home.data("metrics.db")).unwrap();
    lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
    for _ in 0..3 {
        let answer = send(&server, &token, "one", 1).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
        assert_eq!(answer.json()["message"], "the message is stored, and not delivered yet");
    }
    let other = send(&server, &token, "one", 2).await;
    assert_eq!(
        (other.status, other.json()["error"].as_str()),
        (422, Some("idempotency_key_reused"))
    );

    drop(lock);
    server.drained("local").await;
    for (key, n) in [("one", 1), ("two", 2)] {
        let answer = send(&server, &token, key, n).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    server.stop().await;
    assert_eq!(numbers(&database(&home.data("metrics.db")), "agent"), [1, 2]);
}
