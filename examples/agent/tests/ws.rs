//! The agent over a real WebSocket, against a server that misbehaves by a script.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod support;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use poa_agent::{
    Agent, CallError, ErrorChain, Link, Report, RunError, Session, Transport, WebSocket, Wire,
};
use serde_json::json;
use support::socket::{FakeSocket, SocketAct, SocketCall};
use support::{Counter, ID, number};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

type Life = JoinHandle<Result<Report, RunError>>;

/// An agent that measures the numbers below `count`, as fast as it can, and hardly ever pings.
fn start(server: &FakeSocket, count: u64) -> (Life, oneshot::Sender<()>) {
    let mut config = server.config();
    config.settings.interval = Duration::from_millis(1);
    config.settings.ping_interval = Duration::from_secs(3600);
    let transport = Wire::new(&config).unwrap();
    let agent = Agent::from_parts(config.settings, transport, Counter(0..count));
    let (stop, stopped) = oneshot::channel();
    (tokio::spawn(agent.run(async { stopped.await.unwrap() })), stop)
}

async fn end((life, stop): (Life, oneshot::Sender<()>)) -> Report {
    stop.send(()).unwrap();
    life.await.unwrap().unwrap()
}

fn all_well(_: &SocketCall) -> SocketAct {
    SocketAct::Succeed
}

/// Does it the first time that the counter's metric `wanted` comes.
fn once(wanted: u64, mut act: Option<SocketAct>) -> impl FnMut(&SocketCall) -> SocketAct + Send {
    move |call| {
        let hit = call.number() == Some(wanted);
        hit.then(|| act.take()).flatten().unwrap_or(SocketAct::Succeed)
    }
}

fn keys_of(server: &FakeSocket, wanted: u64) -> Vec<String> {
    let calls = server.calls();
    let alike = calls.iter().filter(|call| call.number() == Some(wanted));
    alike.map(|call| call.key().to_owned()).collect()
}

#[tokio::test]
async fn a_life_goes_over_one_connection_in_order_and_ends_with_a_bye() {
    let server = FakeSocket::start(all_well).await;
    let life = start(&server, 50);
    server.wait_for_number(49).await;
    let report = end(life).await;

    let calls = server.calls();
    assert_eq!(server.numbers(), (0..50).collect::<Vec<_>>());
    assert_eq!((report.measured, report.sent, report.left), (51, 51, 0));
    assert!(report.said_bye);
    assert_eq!(calls.last().unwrap().name(), "bye");
    assert!(calls.iter().all(|call| call.connection == 0));
    assert!(calls.iter().all(|call| call.authorization == "Bearer token-0"));
    assert!(calls.iter().all(|call| call.body["id"] == ID));
}

#[tokio::test]
async fn what_was_not_answered_is_sent_again_under_the_same_key() {
    for act in
        [SocketAct::HangUp, SocketAct::Close(1001, "shutting down"), SocketAct::Close(1011, "")]
    {
        let server = FakeSocket::start(once(1, Some(act))).await;
        let life = start(&server, 3);
        server.wait_for_number(2).await;
        let report = end(life).await;

        assert_eq!(server.numbers(), [0, 1, 1, 2]);
        let keys = keys_of(&server, 1);
        assert_eq!(keys[0], keys[1]);
        assert_ne!(keys[0], keys_of(&server, 0)[0]);
        assert_eq!((report.rejected, report.left), (0, 0));
        // The token was good, so it is used again.
        assert_eq!(server.auth.calls("/session").len(), 1);
    }
}

#[tokio::test]
async fn a_token_refused_in_any_way_costs_one_login_and_no_metric() {
    let unauthorized = json!({"code": "token_expired", "status": 401, "message": "expired"});
    for act in [SocketAct::Close(4401, "token banned"), SocketAct::Refuse(unauthorized)] {
        let server = FakeSocket::start(once(1, Some(act))).await;
        let life = start(&server, 3);
        server.wait_for_number(2).await;
        end(life).await;
        assert_eq!(server.numbers(), [0, 1, 1, 2]);
        assert_eq!(server.auth.calls("/session").len(), 2);
        assert_eq!(server.calls().last().unwrap().authorization, "Bearer token-1");
    }
}

#[tokio::test]
async fn a_token_refused_at_the_door_is_replaced_at_once() {
    let gate =
        |authorization: &str, _| if authorization == "Bearer token-0" { Err(401) } else { Ok(()) };
    let server = FakeSocket::gated(gate, all_well).await;
    let mut config = server.config();
    config.settings.backoff = poa_agent::Backoff::new(Duration::ZERO, Duration::ZERO);
    let socket = WebSocket::new(&config).unwrap();
    socket.connect().await.unwrap();
    socket.ping().await.unwrap();
    assert_eq!(server.calls()[0].authorization, "Bearer token-1");
}

#[tokio::test]
async fn a_busy_server_is_left_alone_as_long_as_it_asks() {
    let busy = json!({"code": "backlog_full", "status": 503, "message": "later", "retry_after": 1});
    let server = FakeSocket::start(once(3, Some(SocketAct::Refuse(busy)))).await;
    let begun = Instant::now();
    let life = start(&server, 6);
    server.wait_for_number(5).await;
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    end(life).await;
    assert_eq!(server.numbers(), [0, 1, 2, 3, 3, 4, 5]);
    assert!(server.calls().iter().all(|call| call.connection == 0));
}

#[tokio::test]
async fn what_the_server_will_never_take_does_not_hold_up_the_next() {
    let invalid = json!({"code": "unknown_type", "status": 422, "message": "type: unknown"});
    for act in [SocketAct::Refuse(invalid), SocketAct::Close(1009, "too large")] {
        let server = FakeSocket::start(once(1, Some(act))).await;
        let life = start(&server, 4);
        server.wait_for_number(3).await;
        let report = end(life).await;
        assert_eq!(server.numbers(), [0, 1, 2, 3]);
        assert_eq!((report.rejected, report.left), (1, 0));
    }
}

#[tokio::test]
async fn a_large_message_that_ends_the_connection_is_told_from_the_others_on_it() {
    let server = FakeSocket::start(|call| match call.number() {
        Some(1) => SocketAct::Close(1009, "too large"),
        _ => SocketAct::Ignore,
    })
    .await;
    let socket = WebSocket::new(&server.config()).unwrap();
    socket.connect().await.unwrap();
    let small = number(0);
    let large = poa_agent::Metric::new(
        "system_metrics",
        "count",
        &json!({"n": 1, "text": "x".repeat(9000)}),
    )
    .unwrap();
    let (small, large) = tokio::join!(socket.data(&small), socket.data(&large));
    assert!(small.unwrap_err().is_temporary());
    assert!(matches!(large, Err(CallError::Rejected { status: 413, .. })), "{large:?}");
}

#[tokio::test]
async fn calls_are_pipelined_and_matched_by_their_reference() {
    let agents = 40;
    let server = FakeSocket::start(|call| match call.number() {
        Some(n) if n % 2 == 1 => {
            SocketAct::Refuse(json!({"code": "odd", "status": 422, "message": n.to_string()}))
        }
        _ => SocketAct::Succeed,
    })
    .await;
    let config = server.config();
    let link = Link::new(Session::new(&config).unwrap(), &config.server);
    let sent = (0..agents).map(|n| {
        let socket = WebSocket::over(link.clone(), &format!("agent-{n}").parse().unwrap());
        async move { socket.data(&number(n)).await }
    });
    let outcomes = futures_util::future::join_all(sent).await;
    for (n, outcome) in outcomes.into_iter().enumerate() {
        match outcome {
            Ok(()) => assert_eq!(n % 2, 0),
            Err(CallError::Rejected { message, .. }) => assert_eq!(message, format!("odd, {n}")),
            Err(other) => panic!("{other:?}"),
        }
    }
    let calls = server.calls();
    let ids: HashSet<_> = calls.iter().map(|call| call.body["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 40);
    assert!(calls.iter().all(|call| call.connection == 0));
}

#[tokio::test]
async fn a_server_that_stops_answering_is_given_up_and_connected_to_anew() {
    let server = FakeSocket::start(once(1, Some(SocketAct::Ignore))).await;
    let mut config = server.config();
    config.request_timeout = Duration::from_millis(100);
    let socket = WebSocket::new(&config).unwrap();
    let failure = socket.data(&number(1)).await.unwrap_err();
    assert!(failure.is_temporary());
    assert!(ErrorChain(&failure).to_string().contains("no answer within 100ms"), "{failure:?}");
    while let Err(failure) = socket.data(&number(2)).await {
        tokio::time::sleep(failure.retry_after().unwrap()).await;
    }
    assert_eq!(server.calls().last().unwrap().connection, 1);
}

#[tokio::test]
async fn a_lost_connection_is_not_made_again_at_once() {
    let server = FakeSocket::start(once(0, Some(SocketAct::HangUp))).await;
    let mut config = server.config();
    let hour = Duration::from_secs(3600);
    config.settings.backoff = poa_agent::Backoff::new(hour, hour);
    let socket = WebSocket::new(&config).unwrap();
    assert!(socket.data(&number(0)).await.unwrap_err().is_temporary());
    let failure = socket.ping().await.unwrap_err();
    assert!(failure.is_temporary() && failure.retry_after().is_some(), "{failure:?}");
    assert_eq!(server.calls().len(), 1);
}

#[tokio::test]
async fn errors_name_the_address_the_cause_and_the_cure() {
    // Held, so that no other process gets it, and never listening.
    let silent = tokio::net::TcpSocket::new_v4().unwrap();
    silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = silent.local_addr().unwrap();
    let server = FakeSocket::gated(|_, _| Err(404), all_well).await;
    let mut nobody = server.config();
    nobody.server = format!("ws://{address}").parse().unwrap();
    for (config, reason) in [
        (nobody, format!("cannot connect to {address}; is the server running?")),
        (server.config(), "answered 404 instead of changing to WebSocket; check the path".into()),
    ] {
        let failure = WebSocket::new(&config).unwrap().connect().await.unwrap_err();
        let told = ErrorChain(&failure).to_string();
        assert!(failure.is_temporary() && told.contains(&reason), "{told}");
    }
}
