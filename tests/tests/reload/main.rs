//! Reloads with changes of every kind under load: no message is refused, lost or doubled, connections of handlers that did not change stay
//! open, and counters only grow.
//!
//! Six reloads one after the other; with `POA_TEST_ROUNDS`, as `cargo xtask soak reload` sets it, so many, one each second.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod agent;
mod changes;
mod counters;

use std::time::{Duration, Instant};

use poa_tests::{Home, Request, Server, database, numbers, raise_file_limit, soon};
use serde_json::Value;

use agent::{Kind, Load, Sent};
use counters::Counters;

/// How many reloads there are without `POA_TEST_ROUNDS`: each kind once.
const SHORT: usize = 6;
/// The time between two reloads of a long run.
const EACH: Duration = Duration::from_secs(1);

/// The number of reloads, and the time between two of them.
fn rounds() -> (usize, Duration) {
    let long = std::env::var("POA_TEST_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    long.map_or((SHORT, Duration::ZERO), |rounds| (rounds, EACH))
}

/// Reloads, and checks the result.
async fn reload(server: &Server, home: &Home, expected: &str) -> Duration {
    let token = std::fs::read_to_string(home.data("admin_token")).unwrap();
    let begin = Instant::now();
    let answer = server.ask("admin", &Request::post("/reload", token.trim())).await;
    let done: Value = answer.json();
    assert_eq!(done["result"], expected, "{done}\n{}", home.log());
    begin.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_reload_is_felt() {
    raise_file_limit();
    let (home, mut changes) = changes::home();
    let server = Server::start(&home).await;
    let token = server.login().await;
    let mut load = Load::default();
    for (handler, kind, agents, changed) in [
        ("rest", Kind::Rest, 24, false),
        ("ws", Kind::WebSocket, 12, false),
        ("changed-rest", Kind::Rest, 16, true),
        ("changed-ws", Kind::WebSocket, 12, true),
    ] {
        load.add(&server, handler, kind, agents, changed, &token);
    }
    let counters = Counters::watch(&server);

    let (rounds, each) = rounds();
    let mut slowest = Duration::ZERO;
    let begin = Instant::now();
    for round in 0..rounds {
        tokio::time::sleep_until((begin + each * u32::try_from(round).unwrap()).into()).await;
        load.moves().await;
        let expected = changes.next(&home);
        slowest = slowest.max(reload(&server, &home, expected).await);
    }
    load.moves().await;
    let series = counters.stop().await;
    let sent = load.stop().await;
    server.drained("local").await;
    server.drained("second").await;
    server.stop().await;
    for file in ["metrics.db", "second.db"] {
        check(&home, file, &sent);
    }
    let of = |count: fn(&Sent) -> usize| sent.iter().map(count).sum::<usize>();
    println!(
        "{rounds} reloads, the slowest {slowest:.1?}; {} messages acknowledged and stored once; {} connections lost by handlers that changed, none by others; longest answer {:.1?}; {series} counters grew only",
        of(|sent| sent.acknowledged),
        of(|sent| sent.reconnected),
        sent.iter().map(|sent| sent.longest).max().unwrap(),
    );
}

/// Each agent's messages are rows, each once, in order.
fn check(home: &Home, file: &str, sent: &[Sent]) {
    let database = database(&home.data(file));
    for Sent { agent, acknowledged, .. } in sent {
        let stored = numbers(&database, agent);
        assert!(stored.iter().copied().eq(0..*acknowledged), "{file}: {agent}: {acknowledged}");
    }
}

/// The other kind of reload: it takes the place of the whole host, so every connection is closed, none is refused, and counters
/// continue.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_host_refuses_and_loses_nothing() {
    let (home, changes) = changes::home();
    let server = Server::start(&home).await;
    let token = server.login().await;
    let mut load = Load::default();
    load.add(&server, "rest", Kind::Rest, 8, true, &token);
    load.add(&server, "ws", Kind::WebSocket, 8, true, &token);
    let counters = Counters::watch(&server);
    for nth in 0..3 {
        load.moves().await;
        changes.of_the_host(&home, nth);
        reload(&server, &home, "applied").await;
    }
    soon("the agents continue", load.moves()).await;
    assert!(counters.stop().await > 20);
    let sent = load.stop().await;
    server.drained("local").await;
    server.stop().await;
    check(&home, "metrics.db", &sent);
    assert!(sent.iter().all(|sent| sent.reconnected > 0));
}
