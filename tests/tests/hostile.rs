//! Clients that waste what a server has, while others are served as before.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::time::{Duration, Instant};

use poa_tests::{Client, Home, Request, Server, raise_file_limit, sqlite};

const IDLE: usize = 2_000;
const STALLED: usize = 50;
const ENDLESS: usize = 50;
const REQUESTS: usize = 2_000;
const MIB: u64 = 1 << 20;

#[tokio::test]
async fn others_are_served_as_before() {
    raise_file_limit();
    let receiver = sqlite("local", "metrics.db", "");
    let home = Home::with(&(receiver + "[handlers.rest.limits]\nheader_timeout = \"2s\"\n"));
    let server = Server::start(&home).await;
    let token = server.login().await;
    let alone = served(&server, &token).await;
    let before = server.resident();

    let mut hostile = Vec::new();
    for _ in 0..IDLE {
        hostile.push(server.client().await);
    }
    for _ in 0..STALLED {
        hostile.push(stalled(&server, &token).await);
    }
    let endless: Vec<_> = (0..ENDLESS).map(|_| endless(server.rest().to_owned())).collect();
    let endless: Vec<_> = endless.into_iter().map(tokio::spawn).collect();
    let among = served(&server, &token).await;
    let after = server.resident();
    println!(
        "p99 {alone:?} alone, {among:?} among {} hostile clients; {} MiB resident, then {} MiB",
        IDLE + STALLED + ENDLESS,
        before / MIB,
        after / MIB
    );
    assert!(among < Duration::from_millis(200), "p99 {among:?}, alone {alone:?}");
    assert!(after < before + 64 * MIB, "{before} bytes resident before, {after} after");

    for connection in endless {
        // Refused at the limit of a head, or cut off for taking too long.
        let said = connection.await.unwrap();
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
    }
    drop(hostile);
    server.stop().await;
}

#[tokio::test]
async fn more_connections_than_there_may_be_shut_nobody_out() {
    raise_file_limit();
    let receiver = sqlite("local", "metrics.db", "");
    let home = Home::with(&(receiver + "[handlers.rest.limits]\nmax_connections = 50\n"));
    let server = Server::start(&home).await;
    let token = server.login().await;
    let mut idle = Vec::new();
    for _ in 0..500 {
        idle.push(server.client().await);
    }
    let among = served(&server, &token).await;
    println!("p99 {among:?} while ten times as many are connected as may be");
    assert!(among < Duration::from_millis(200), "p99 {among:?}");
    drop(idle);
    server.stop().await;
}

#[tokio::test]
async fn who_asks_and_never_listens_costs_little() {
    let home = Home::new();
    let server = Server::start(&home).await;
    let token = server.login().await;
    served(&server, &token).await;
    let before = server.resident();
    let refused = Request::new("POST", "/nowhere").bytes().repeat(1000);
    let mut deaf = Vec::new();
    for _ in 0..20 {
        let mut client = server.client().await;
        // Until the server stops reading, because its answers are not read.
        let sent = async { while client.send(&refused).await.is_ok() {} };
        let _ = tokio::time::timeout(Duration::from_millis(100), sent).await;
        deaf.push(client);
    }
    let among = served(&server, &token).await;
    let after = server.resident();
    println!(
        "p99 {among:?} among the deaf; {} MiB resident, then {} MiB",
        before / MIB,
        after / MIB
    );
    assert!(among < Duration::from_millis(200), "p99 {among:?}");
    assert!(after < before + 64 * MIB, "{before} bytes resident before, {after} after");
    drop(deaf);
    server.stop().await;
}

/// The slowest answer of the 99 % of answers that are fastest.
async fn served(server: &Server, token: &str) -> Duration {
    let body = r#"{"id":"normal","type":"system_metrics","data":{"type":"t","body":{"n":1}}}"#;
    let request = Request::post("/data", token).json(body).bytes();
    let mut client = server.client().await;
    let mut times = Vec::new();
    for _ in 0..REQUESTS {
        let begin = Instant::now();
        let answer = client.exchange(&request).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    times[REQUESTS * 99 / 100]
}

/// Announces the largest body there may be, sends the beginning of it, and then nothing more.
async fn stalled(server: &Server, token: &str) -> Client {
    let request = Request::post("/data", token).header("content-type", "application/json");
    let head = request.header("content-length", "8000000").bytes();
    let mut client = server.client().await;
    client.send(&head).await.unwrap();
    client.send(br#"{"id":"stalled","type":"system_metrics","data":{"pad":""#).await.unwrap();
    client
}

/// Sends headers without end until it is cut off; what it was told.
async fn endless(address: String) -> String {
    let mut client = Client::connect(&address).await.unwrap();
    client.send(b"POST /data HTTP/1.1\r\nhost: poa\r\n").await.unwrap();
    let begin = Instant::now();
    while client.send(b"x-endless: xxxxxxxxxxxxxxxx\r\n").await.is_ok() {
        assert!(begin.elapsed() < poa_tests::PATIENCE, "headers without end are taken");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    client.end().await.unwrap_or_default()
}

/// An agent, a user or an address that sends faster than it may is told when to continue; others are not refused.
#[tokio::test]
async fn who_sends_too_fast_waits_and_others_do_not() {
    let receiver = sqlite("local", "metrics.db", "");
    let limits = "[limits.agent]\nmessages = 1\nburst = \"1h\"\n[limits.user]\nbytes = \"1MiB\"\n";
    let home = Home::with(&(receiver + limits));
    let server = Server::start(&home).await;
    let token = server.login().await;
    let mut client = server.client().await;
    let mut send = async |agent: &str, count: usize| {
        let one = format!(r#"{{"id":"{agent}","type":"system_metrics","data":{{}}}}"#);
        let body = format!("[{}]", vec![one; count].join(","));
        client.exchange(&Request::post("/data", &token).json(&body).bytes()).await.unwrap()
    };
    assert_eq!(send("fast", 3700).await.status, 200);
    let refused = send("fast", 1).await;
    assert_eq!(refused.status, 429, "{refused:?}");
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    assert_eq!(send("other", 1).await.status, 200);
    server.stop().await;
}
