//! The real server with a real PostgreSQL that is stopped and crashed under load: what is acknowledged is stored, once.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use poa_test_postgres::{Cluster, Setup};
use poa_tests::{Client, Home, METRICS, Request, Server, until};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_postgres::NoTls;

const AGENTS: usize = 8;

fn receiver(cluster: &Cluster) -> String {
    let url = cluster.url("postgres");
    format!(
        "[receivers.store]\nkind = \"postgres\"\nurl = \"{url}\"\nsubscribe = {METRICS:?}\nretry = {{ initial = \"10ms\", max = \"100ms\" }}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_is_stored_whatever_happens_to_postgres() {
    let mut cluster = Cluster::start(Setup::default()).unwrap();
    let home = Home::with(&receiver(&cluster));
    let server = Server::start(&home).await;
    let token = server.login().await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut agents = JoinSet::new();
    for agent in 0..AGENTS {
        agents.spawn(send(agent, server.rest().to_owned(), token.clone(), stop.clone()));
    }

    delivered(&server, 1000).await;
    cluster.stop().unwrap();
    retrying(&server).await;
    let backlog =
        until("a backlog", async || Some(backlog(&server).await).filter(|count| *count > 2000))
            .await;
    cluster.resume().unwrap();
    delivered(&server, backlog).await;
    for _ in 0..3 {
        cluster.crash().unwrap();
        cluster.resume().unwrap();
        delivered(&server, 500).await;
    }

    stop.store(true, Relaxed);
    let acknowledged: usize = agents.join_all().await.into_iter().sum();
    server.drained("store").await;
    server.stop().await;
    check(&cluster, acknowledged).await;
    let log = home.log();
    assert!(!log.contains(cluster.password()), "the password is in the log");
    assert!(log.contains("is the server running"), "{log}");
    println!(
        "{acknowledged} messages were acknowledged, all are stored; the backlog had {backlog}"
    );
}

/// Sends messages, each after the answer to the one before; how many were acknowledged.
async fn send(agent: usize, address: String, token: String, stop: Arc<AtomicBool>) -> usize {
    let mut client = Client::connect(&address).await.unwrap();
    let mut acknowledged = 0;
    while !stop.load(Relaxed) {
        let body = json!({
            "id": format!("agent-{agent}"), "type": METRICS[acknowledged % 3],
            "data": {"type": "count", "body": {"n": acknowledged}},
        });
        let request = Request::post("/data", &token).json(&body.to_string());
        let answer = client.exchange(&request.bytes()).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        acknowledged += 1;
    }
    acknowledged
}

async fn count(server: &Server, what: &str) -> u64 {
    server.plugin("store").await["delivery"][what].as_u64().unwrap()
}

async fn backlog(server: &Server) -> u64 {
    count(server, "backlog_messages").await
}

/// Waits until this many more messages are delivered.
async fn delivered(server: &Server, more: u64) {
    let wanted = count(server, "delivered").await + more;
    until("messages are delivered", async || {
        (count(server, "delivered").await >= wanted).then_some(())
    })
    .await;
}

/// Waits until the status says what is wrong.
async fn retrying(server: &Server) {
    until("the status says that the server is gone", async || {
        let status = server.plugin("store").await.to_string();
        status.contains("is the server running").then_some(())
    })
    .await;
}

/// As many rows as answers, each once, and the numbers of each agent in their order by id.
async fn check(cluster: &Cluster, acknowledged: usize) {
    let (client, connection) =
        tokio_postgres::connect(&cluster.url("postgres"), NoTls).await.unwrap();
    tokio::spawn(connection);
    let rows = client
        .query(
            "SELECT agent_id, (body ->> 'n')::bigint FROM metrics ORDER BY agent_id, message_id",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(rows.len(), acknowledged);
    let mut next = 0;
    let mut last = String::new();
    for row in rows {
        let (agent, n): (String, i64) = (row.get(0), row.get(1));
        next = if agent == last { next + 1 } else { 0 };
        assert_eq!(n, next, "{agent}");
        last = agent;
    }
}
