//! Acknowledged messages are stored: as many rows as positive answers, each once, in order.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::time::Instant;

use poa_tests::{Home, Request, Server, count, database, numbers};
use serde_json::json;
use tokio::task::JoinSet;

const AGENTS: usize = 64;
const MESSAGES: usize = 100_000;

#[tokio::test]
async fn every_acknowledged_message_is_one_row() {
    let home = Home::new();
    let server = Server::start(&home).await;
    let token = server.login().await;

    let begin = Instant::now();
    let mut agents = JoinSet::new();
    for agent in 0..AGENTS {
        agents.spawn(send_all(agent, server.rest().to_owned(), token.clone()));
    }
    let acknowledged: usize = agents.join_all().await.into_iter().sum();
    let sent = begin.elapsed();
    let resident = server.resident();
    server.stop().await;
    let drained = begin.elapsed();

    assert_eq!(acknowledged, MESSAGES);
    check_rows(&home);
    let rate = MESSAGES as f64 / sent.as_secs_f64();
    println!(
        "{MESSAGES} acknowledged in {sent:.1?} ({rate:.0}/s), stored after {drained:.1?}, {} KiB resident",
        resident / 1024
    );
}

/// Sends the messages of one agent, every other one as MessagePack; how many were acknowledged.
async fn send_all(agent: usize, address: String, token: String) -> usize {
    let mut client = poa_tests::Client::connect(&address).await.unwrap();
    let mut acknowledged = 0;
    for n in 0..messages_of(agent) {
        let call = json!({
            "id": format!("agent-{agent:02}"), "type": "system_metrics",
            "data": {"type": "load", "body": {"n": n}},
        });
        let request = Request::post("/data", &token);
        let request = match n % 2 {
            0 => request.json(&call.to_string()),
            _ => request.msgpack(rmp_serde::to_vec(&call).unwrap()),
        };
        let answer = client.exchange(&request.bytes()).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        acknowledged += 1;
    }
    acknowledged
}

fn messages_of(agent: usize) -> usize {
    (MESSAGES - agent).div_ceil(AGENTS)
}

fn check_rows(home: &Home) {
    let database = database(&home.data("metrics.db"));
    assert_eq!(count(&database, "SELECT count(*) FROM metrics"), MESSAGES as i64);
    assert_eq!(count(&database, "SELECT count(DISTINCT message_id) FROM metrics"), MESSAGES as i64);
    for agent in 0..AGENTS {
        let stored = numbers(&database, &format!("agent-{agent:02}"));
        assert!(stored.iter().copied().eq(0..messages_of(agent)), "agent {agent}: {stored:?}");
    }
}
