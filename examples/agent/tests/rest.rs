//! The agent over real HTTP, against a server that misbehaves by a script.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod support;

use std::time::{Duration, Instant};

use poa_agent::{Agent, Backoff, CallError, ErrorChain, Report, Rest, RunError, Transport};
use support::{Act, Call, Counter, FakeServer, ID, all_well, never, number};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

type Life = JoinHandle<Result<Report, RunError>>;

/// An agent that measures the numbers below `count`, as fast as it can, and hardly ever pings.
fn start(server: &FakeServer, count: u64) -> (Life, oneshot::Sender<()>) {
    let mut config = server.config();
    config.settings.interval = Duration::from_millis(1);
    config.settings.ping_interval = Duration::from_secs(3600);
    let transport = Rest::new(&config).unwrap();
    let agent = Agent::from_parts(config.settings, transport, Counter(0..count));
    let (stop, stopped) = oneshot::channel();
    (tokio::spawn(agent.run(async { stopped.await.unwrap() })), stop)
}

async fn end((life, stop): (Life, oneshot::Sender<()>)) -> Report {
    stop.send(()).unwrap();
    life.await.unwrap().unwrap()
}

/// The counted metrics in the order of arrival; the latency of the one ping is left out.
fn counted(calls: &[Call]) -> Vec<&Call> {
    calls.iter().filter(|call| call.body["type"] == "system_metrics").collect()
}

fn numbers(calls: &[Call]) -> Vec<u64> {
    counted(calls).iter().map(|call| call.number()).collect()
}

fn is_number(call: &Call, number: u64) -> bool {
    call.path == "/data" && call.body["data"]["body"]["n"] == number
}

#[tokio::test]
async fn what_was_measured_arrives_once_in_order_over_kept_connections() {
    let server = FakeServer::start(all_well).await;
    let life = start(&server, 50);
    server.wait_for("/data", 51).await;
    let report = end(life).await;

    let calls = server.calls("/data");
    assert_eq!(numbers(&calls), (0..50).collect::<Vec<_>>());
    assert_eq!((report.measured, report.sent, report.left), (51, 51, 0));
    assert!(calls.iter().all(|call| call.authorization == "Bearer token-0"));
    let connections: std::collections::HashSet<_> = calls.iter().map(|call| call.peer).collect();
    assert!(connections.len() <= 2, "one for metrics, one for pings: {connections:?}");
}

#[tokio::test]
async fn a_refused_token_costs_one_login_and_no_metric() {
    let mut refused = false;
    let server = FakeServer::start(move |call, _| {
        if is_number(call, 2) && !std::mem::replace(&mut refused, true) {
            return Act::Answer(401, &[], r#"{"error":"token_expired"}"#);
        }
        Act::Succeed
    })
    .await;
    let life = start(&server, 5);
    server.wait_for("/data", 7).await;
    let report = end(life).await;

    let calls = server.calls("/data");
    assert_eq!(numbers(&calls), [0, 1, 2, 2, 3, 4]);
    let counted = counted(&calls);
    assert_eq!(counted[2].key, counted[3].key);
    assert_eq!(
        (&*counted[2].authorization, &*counted[3].authorization),
        ("Bearer token-0", "Bearer token-1")
    );
    assert_eq!(server.calls("/session").len(), 2);
    assert_eq!((report.sent, report.measured), (6, 6));
}

#[tokio::test]
async fn a_ping_and_a_metric_refused_together_cost_one_login() {
    let server = FakeServer::start(|call, _| {
        let expired = call.path != "/session" && call.authorization == "Bearer token-0";
        if expired { Act::Answer(401, &[], "") } else { Act::Succeed }
    })
    .await;
    let mut config = server.config();
    config.settings.backoff = Backoff::new(Duration::ZERO, Duration::ZERO);
    let rest = Rest::new(&config).unwrap();
    rest.connect().await.unwrap();
    let metric = number(0);
    let (ping, data) = tokio::join!(rest.ping(), rest.data(&metric));
    assert!(ping.is_ok() && data.is_ok());
    assert_eq!(server.calls("/session").len(), 2);
}

#[tokio::test]
async fn tokens_that_are_never_taken_are_not_asked_for_in_a_loop() {
    let server = FakeServer::start(|call, _| {
        if call.path == "/session" { Act::Succeed } else { Act::Answer(401, &[], "") }
    })
    .await;
    let mut config = server.config();
    config.settings.backoff = Backoff::new(Duration::from_secs(3600), Duration::from_secs(3600));
    let rest = Rest::new(&config).unwrap();
    for _ in 0..10 {
        let failure = rest.data(&number(0)).await.unwrap_err();
        assert!(failure.is_temporary() && failure.retry_after().is_some(), "{failure:?}");
    }
    assert_eq!(server.calls("/session").len(), 1);
}

#[tokio::test]
async fn a_busy_server_is_left_alone_as_long_as_it_asks_and_then_gets_everything() {
    let mut busy = 2;
    let server = FakeServer::start(move |call, _| {
        if is_number(call, 3) && busy > 0 {
            busy -= 1;
            return Act::Answer(503, &[("retry-after", "1")], r#"{"error":"backlog_full"}"#);
        }
        Act::Succeed
    })
    .await;
    let begun = Instant::now();
    let life = start(&server, 20);
    server.wait_for("/data", 23).await;
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    let report = end(life).await;

    let expected: Vec<u64> = [0, 1, 2, 3, 3].into_iter().chain(3..20).collect();
    assert_eq!(numbers(&server.calls("/data")), expected);
    assert_eq!((report.sent, report.rejected, report.overflowed, report.left), (21, 0, 0, 0));
}

#[tokio::test]
async fn a_metric_whose_answer_was_lost_is_repeated_under_the_same_key() {
    let mut hung_up = false;
    let server = FakeServer::start(move |call, _| {
        if is_number(call, 1) && !std::mem::replace(&mut hung_up, true) {
            return Act::HangUp;
        }
        Act::Succeed
    })
    .await;
    let life = start(&server, 3);
    server.wait_for("/data", 5).await;
    let report = end(life).await;

    let calls = server.calls("/data");
    assert_eq!(numbers(&calls), [0, 1, 1, 2]);
    let keys: Vec<_> = counted(&calls).into_iter().map(|call| call.key.clone().unwrap()).collect();
    assert_eq!(keys[1], keys[2]);
    assert!(keys[0] != keys[1] && keys[1] != keys[3]);
    assert_eq!(report.sent, 4);
}

#[tokio::test]
async fn a_metric_the_server_will_never_take_does_not_hold_up_the_next() {
    let server = FakeServer::start(|call, _| match call.body["data"]["body"]["n"].as_u64() {
        Some(1) => Act::Answer(422, &[], r#"{"error":"invalid","message":"type: unknown"}"#),
        Some(2) => Act::Answer(413, &[], "too large"),
        _ => Act::Succeed,
    })
    .await;
    let life = start(&server, 4);
    server.wait_for("/data", 5).await;
    let report = end(life).await;

    assert_eq!(numbers(&server.calls("/data")), [0, 1, 2, 3]);
    assert_eq!((report.sent, report.rejected, report.left), (3, 2, 0));
}

#[tokio::test]
async fn what_waits_at_the_end_is_sent_before_the_bye() {
    let (open, opened) = tokio::sync::watch::channel(false);
    let server = FakeServer::start(move |call, _| {
        if call.path == "/data" && !*opened.borrow() {
            Act::Answer(503, &[], "")
        } else {
            Act::Succeed
        }
    })
    .await;
    let (life, stop) = start(&server, 5);
    server.wait_for("/data", 30).await;
    open.send_replace(true);
    let report = end((life, stop)).await;

    assert_eq!((report.measured, report.sent, report.left), (6, 6, 0));
    assert!(report.said_bye);
    let bye = server.calls("/bye");
    assert_eq!(bye.len(), 1);
    assert_eq!(bye[0].body, serde_json::json!({"id": ID}));
}

#[tokio::test]
async fn a_wrong_password_ends_the_agent_with_a_clear_error_after_one_login() {
    let server = FakeServer::start(|_, _| Act::Answer(401, &[], "")).await;
    let agent = Agent::new(server.config()).unwrap();
    let error = agent.run(never()).await.unwrap_err();

    let told = ErrorChain(&error).to_string();
    assert!(
        told.contains("refused the user alice") && told.contains("check name and password"),
        "{told}"
    );
    assert!(!told.contains(support::PASSWORD), "{told}");
    assert_eq!(server.calls("/session").len(), 1);
    assert!(server.calls("/data").is_empty());
}

#[tokio::test]
async fn what_is_no_auth_server_is_told_from_a_wrong_password() {
    for (status, body, reason) in
        [(404, "nothing here", "answered 404"), (200, "<html>", "without a token")]
    {
        let server = FakeServer::start(move |_, _| Act::Answer(status, &[], body)).await;
        let error = Agent::new(server.config()).unwrap().run(never()).await.unwrap_err();
        let told = ErrorChain(&error).to_string();
        assert!(told.contains(reason) && told.contains("address of the auth server"), "{told}");
    }
}

#[tokio::test]
async fn an_auth_server_that_fails_later_costs_no_metric() {
    let server = FakeServer::start(|call, before| match &*call.path {
        // The user is switched off for a while, then an odd proxy answers, then all is well again.
        "/session" if before == 1 => Act::Answer(401, &[], ""),
        "/session" if before == 2 => Act::Answer(404, &[], ""),
        "/data" if call.authorization == "Bearer token-0" => Act::Answer(401, &[], ""),
        _ => Act::Succeed,
    })
    .await;
    let life = start(&server, 3);
    server.wait_for_call(|call| is_number(call, 2)).await;
    let report = end(life).await;

    let mut numbers = numbers(&server.calls("/data"));
    numbers.dedup();
    assert_eq!(numbers, [0, 1, 2]);
    // The ping may have come at the wrong moment, and then there is no latency.
    assert_eq!((report.sent, report.rejected, report.left), (report.measured, 0, 0));
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_on_in_time() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config =
        support::config(format!("http://{}", silent.local_addr().unwrap()).parse().unwrap());
    config.request_timeout = Duration::from_millis(50);
    let failure = Rest::new(&config).unwrap().connect().await.unwrap_err();
    assert!(failure.is_temporary());
    assert!(ErrorChain(&failure).to_string().contains("no answer within 50ms"), "{failure:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_temporary_failure_that_names_it() {
    // Held, so that no other process gets it, and never listening.
    let silent = tokio::net::TcpSocket::new_v4().unwrap();
    silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = silent.local_addr().unwrap();
    let config = support::config(format!("http://{address}").parse().unwrap());
    let failure = Rest::new(&config).unwrap().connect().await.unwrap_err();
    assert!(
        matches!(&failure, CallError::Unavailable { call, .. } if call.contains(&address.to_string()))
    );
}
