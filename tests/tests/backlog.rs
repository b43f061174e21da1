//! A large backlog, and a server that is killed with it: ready again at once, and all of it is delivered.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::time::Instant;

use poa_tests::{Home, Request, Server, count, database, numbers, sqlite};
use rusqlite::Connection;

/// With the other fields, a message of 16 KiB.
const PAD: usize = 16_300;
const PER_CALL: usize = 400;
const CALLS: usize = 164;
const MESSAGES: usize = PER_CALL * CALLS;

#[tokio::test]
async fn a_gibibyte_is_delivered_after_a_crash() {
    let patient = "busy_timeout = \"50ms\"\nretry = { initial = \"20ms\", max = \"200ms\" }\n\
        backlog = { max_bytes = \"2GiB\" }";
    let home = Home::with(&sqlite("local", "metrics.db", patient));
    let server = Server::start(&home).await;
    let token = server.login().await;
    let lock = Connection::open(home.data("metrics.db")).unwrap();
    lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let begin = Instant::now();
    fill(&server, &token).await;
    let filled = begin.elapsed();
    let backlog = server.plugin("local").await["delivery"].clone();
    assert_eq!(backlog["backlog_messages"], MESSAGES);
    assert!(backlog["backlog_bytes"].as_u64() > Some(1 << 30), "{backlog}");
    let resident = server.resident();
    server.kill().await;

    drop(lock);
    let begin = Instant::now();
    let server = Server::start(&home).await;
    let ready = begin.elapsed();
    server.drained("local").await;
    let delivered = begin.elapsed();
    println!(
        "1 GiB in {filled:.1?}, {} MiB resident; ready again after {ready:.1?}, all delivered after {delivered:.1?}, \
         {} MiB resident",
        resident >> 20,
        server.resident() >> 20
    );
    // The budget of two seconds is measured on an idle machine; this only refuses a start that reads the whole log.
    assert!(ready < filled, "ready again after {ready:?}");
    server.stop().await;

    let database = database(&home.data("metrics.db"));
    assert_eq!(count(&database, "SELECT count(*) FROM metrics"), MESSAGES as i64);
    assert!(numbers(&database, "agent").into_iter().eq(0..MESSAGES));
}

async fn fill(server: &Server, token: &str) {
    let pad = "x".repeat(PAD);
    let mut client = server.client().await;
    for call in 0..CALLS {
        let message = |n: usize| {
            format!(
                r#"{{"id":"agent","type":"system_metrics","data":{{"type":"t","body":{{"n":{n},"pad":"{pad}"}}}}}}"#
            )
        };
        let messages: Vec<_> = (call * PER_CALL..(call + 1) * PER_CALL).map(message).collect();
        let body = format!("[{}]", messages.join(","));
        // As the agent does. What is needed to know them again must not make the start slow.
        let request = Request::post("/data", token).header("idempotency-key", &format!("{call}"));
        let request = request.json(&body);
        let answer = client.exchange(&request.bytes()).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}
