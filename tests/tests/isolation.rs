//! One receiver that cannot work costs disk: not the other receiver, not the agents, not memory.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::time::{Duration, Instant};

use poa_tests::{Client, Home, Request, Server, database, numbers, sqlite, until};
use rusqlite::Connection;

const AGENTS: usize = 8;
/// Messages of each agent in one call.
const PER_CALL: usize = 125;
const CALLS: usize = 200;
const MESSAGES: usize = CALLS * AGENTS * PER_CALL;
const MIB: u64 = 1 << 20;

/// A receiver that tries again soon, and may fall behind as far as it must.
const STUBBORN: &str = "busy_timeout = \"50ms\"\nretry = { initial = \"20ms\", max = \"200ms\" }\n\
    backlog = { max_bytes = \"1GiB\" }";

#[tokio::test]
async fn a_receiver_that_is_stuck_costs_nobody_else() {
    let receivers = [sqlite("local", "metrics.db", ""), sqlite("stuck", "stuck.db", STUBBORN)];
    let home = Home::with(&receivers.concat());
    let server = Server::start(&home).await;
    let token = server.login().await;

    let lock = Connection::open(home.data("stuck.db")).unwrap();
    lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let mut client = server.client().await;
    let begin = Instant::now();
    send(&mut client, &token, 0..CALLS / 4).await;
    server.drained("local").await;
    let early = server.resident();
    send(&mut client, &token, CALLS / 4..CALLS).await;
    let sent = begin.elapsed();
    server.drained("local").await;
    let late = server.resident();
    let delivered = begin.elapsed();
    check(&home, "metrics.db");
    check_stuck(&server).await;

    drop(lock);
    let unlocked = Instant::now();
    server.drained("stuck").await;
    let caught_up = unlocked.elapsed();
    assert_eq!(server.plugin("stuck").await["phase"], "running");
    check(&home, "stuck.db");
    println!(
        "{MESSAGES} messages acknowledged in {sent:.1?}, delivered to the other receiver in {delivered:.1?}; \
         caught up within {caught_up:.1?}; {} MiB resident after a quarter of them, {} MiB after all, {} MiB in the end",
        early / MIB,
        late / MIB,
        server.resident() / MIB
    );
    assert!(late < early + 16 * MIB, "memory grows with the backlog: {early} to {late} bytes");
    server.stop().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_it_and_the_next_start_delivers() {
    let receivers = [sqlite("local", "metrics.db", ""), sqlite("stuck", "stuck.db", STUBBORN)];
    let home = Home::with(&(receivers.concat() + "[stop]\ndrain = \"500ms\"\n"));
    let server = Server::start(&home).await;
    let token = server.login().await;
    let lock = Connection::open(home.data("stuck.db")).unwrap();
    lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
    send(&mut server.client().await, &token, 0..CALLS).await;
    server.drained("local").await;

    let begin = Instant::now();
    // Whether its last call returned in time, or had to be abandoned on a busy machine: the log keeps its messages.
    let code = server.exit_code().await;
    assert!(matches!(code, Some(0 | 3)), "{code:?}");
    let stopped = begin.elapsed();
    assert!(stopped < Duration::from_secs(5), "stopped after {stopped:?}");
    check(&home, "metrics.db");
    let left = format!("\"messages\":{MESSAGES}");
    let log = home.log();
    assert!(
        log.lines()
            .any(|line| line.contains("the backlog stays in the log") && line.contains(&left)),
        "{log}"
    );

    drop(lock);
    let server = Server::start(&home).await;
    server.drained("stuck").await;
    server.stop().await;
    check(&home, "stuck.db");
    check(&home, "metrics.db");
}

/// Sends these calls, each with the next messages of every agent.
async fn send(client: &mut Client, token: &str, calls: std::ops::Range<usize>) {
    for call in calls {
        let numbers = call * PER_CALL..(call + 1) * PER_CALL;
        let message = |agent: usize, n: usize| {
            format!(
                r#"{{"id":"agent-{agent}","type":"system_metrics","data":{{"type":"t","body":{{"n":{n}}}}}}}"#
            )
        };
        let messages: Vec<_> =
            numbers.flat_map(|n| (0..AGENTS).map(move |agent| message(agent, n))).collect();
        let body = format!("[{}]", messages.join(","));
        let request = Request::post("/data", token).json(&body);
        let answer = client.exchange(&request.bytes()).await.unwrap();
        let expected = format!(r#"{{"result":"success","accepted":{}}}"#, AGENTS * PER_CALL);
        assert_eq!((answer.status, answer.body), (200, expected));
    }
}

/// All messages are there, those of each agent in order.
fn check(home: &Home, file: &str) {
    let database = database(&home.data(file));
    for agent in 0..AGENTS {
        let stored = numbers(&database, &format!("agent-{agent}"));
        let wrong = stored.iter().copied().zip(0..).find(|(stored, sent)| stored != sent);
        let count = stored.len();
        assert!(
            wrong.is_none() && count == CALLS * PER_CALL,
            "{file}, agent {agent}: {count} messages, the first out of place: {wrong:?}"
        );
    }
}

async fn check_stuck(server: &Server) {
    // Between two attempts `/status` reports it; during one the receiver is working.
    let stuck = until("the receiver is seen to retry", async || {
        let plugin = server.plugin("stuck").await;
        (plugin["phase"] == "retrying").then_some(plugin)
    })
    .await;
    let delivery = &stuck["delivery"];
    assert_eq!(delivery["backlog_messages"], MESSAGES, "{stuck}");
    assert!(delivery["retried"].as_u64() > Some(0), "{stuck}");
    assert!(delivery["delivered"] == 0, "{stuck}");
    assert!(stuck["last_error"].as_str().unwrap().contains("locked"), "{stuck}");
    assert_eq!(server.plugin("local").await["phase"], "running");
}
