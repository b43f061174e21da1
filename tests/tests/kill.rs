//! A server that is killed or reloaded again and again loses nothing that it acknowledged, and stores nothing twice.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use poa_tests::{Client, Home, Request, Server, database, numbers, sqlite, until};
use tokio::sync::watch;
use tokio::task::JoinSet;

const ROUNDS: usize = 50;
const CLIENTS: usize = 8;

/// The current address of the server, and whether clients are to stop.
#[derive(Clone, Debug, Default)]
struct Place {
    address: Option<String>,
    last: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_or_stored_twice() {
    let home = with_a_slow_receiver();
    let mut server = Server::start(&home).await;
    let token = server.login().await;
    let (place, clients) = begin_to_send(&token);
    let mut recoveries = Vec::new();
    for round in 0..ROUNDS {
        place.send_modify(|place| place.address = Some(server.rest().to_owned()));
        tokio::time::sleep(Duration::from_millis(fastrand::u64(50..=400))).await;
        if round % 5 == 4 {
            // Killed in the middle of an orderly stop.
            server.tell_to_stop();
            tokio::time::sleep(Duration::from_millis(fastrand::u64(0..=50))).await;
        }
        server.kill().await;
        place.send_modify(|place| place.address = None);
        let begin = Instant::now();
        server = Server::start(&home).await;
        recoveries.push(begin.elapsed());
    }
    place.send_replace(Place { address: Some(server.rest().to_owned()), last: true });
    let sent = clients.join_all().await;
    server.stop().await;
    check(&home, &sent);
    report(&home, &sent, &mut recoveries);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_loses_nothing_either() {
    let home = with_a_slow_receiver();
    let server = Server::start(&home).await;
    let token = server.login().await;
    let (place, clients) = begin_to_send(&token);
    place.send_replace(Place { address: Some(server.rest().to_owned()), last: false });
    // A port that the system chose stays, and stays open.
    let visitor = tokio::spawn(never_refused(server.rest().to_owned()));
    for reload in 1..=10 {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(50..=200))).await;
        home.change_host(reload);
        server.tell_to_reload();
        let reloaded = async || (home.log().matches("\"running\"").count() == reload).then_some(());
        until("the server is reloaded", reloaded).await;
    }
    assert!(!visitor.is_finished(), "{:?}", visitor.await);
    place.send_modify(|place| place.last = true);
    let sent = clients.join_all().await;
    server.stop().await;
    check(&home, &sent);
}

#[tokio::test]
async fn a_reload_does_not_wait_long_for_a_database_that_is_dead() {
    let nowhere = poa_tests::free_port();
    let store = format!(
        "[receivers.store]\nkind = \"postgres\"\nurl = \"postgres://x:y@127.0.0.1:{nowhere}/x\"\nsubscribe = {:?}\n",
        poa_tests::METRICS
    );
    let home = Home::with(&(sqlite("local", "metrics.db", "") + &store));
    let server = Server::start(&home).await;
    let token = server.login().await;
    let body = r#"{"id":"a","type":"system_metrics","data":{"type":"t","body":{"n":0}}}"#;
    let message = Request::post("/data", &token).json(body);
    assert_eq!(server.ask("rest", &message).await.status, 200);
    let begin = Instant::now();
    home.change_host(1);
    server.tell_to_reload();
    until("the old host is gone", async || {
        home.log().contains("the backlog stays in the log").then_some(())
    })
    .await;
    // It waits for the new host.
    assert_eq!(server.ask("rest", &message).await.status, 200);
    let waited = begin.elapsed();
    assert!(waited < Duration::from_secs(15), "as long as a stop may drain: {waited:?}");
    let backlog = server.plugin("store").await["delivery"]["backlog_messages"].clone();
    assert_eq!(backlog, 2, "the backlog in the log is still there");
    server.kill().await;
}

/// Reconnects continuously.
async fn never_refused(address: String) -> std::io::Error {
    loop {
        match tokio::net::TcpStream::connect(&address).await {
            Ok(connection) => drop(connection),
            Err(refused) => return refused,
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A home with a second receiver that is slow, so that there is always something it has not got.
fn with_a_slow_receiver() -> Home {
    let slow = sqlite("slow", "slow.db", "batch = { size = 7, linger = \"1ms\" }");
    Home::with(&(sqlite("local", "metrics.db", "") + &slow))
}

/// Clients that send wherever they are told that the server is.
fn begin_to_send(token: &str) -> (watch::Sender<Place>, JoinSet<Sent>) {
    let (place, places) = watch::channel(Place::default());
    let sender = |agent| Sender { agent, token: token.to_owned(), places: places.clone() };
    let clients = (0..CLIENTS).map(|agent| sender(agent).run()).collect();
    (place, clients)
}

/// All that was acknowledged is stored, once, in order, and nothing else is.
fn check(home: &Home, sent: &[Sent]) {
    for Sent { agent, acknowledged, .. } in sent {
        for file in ["metrics.db", "slow.db"] {
            let stored = stored(home, file, *agent);
            let complete = stored.iter().copied().eq(0..*acknowledged);
            assert!(complete, "{file}, agent {agent}: {acknowledged} acknowledged, {stored:?}");
        }
    }
}

fn report(home: &Home, sent: &[Sent], recoveries: &mut [Duration]) {
    recoveries.sort_unstable();
    let acknowledged: usize = sent.iter().map(|sent| sent.acknowledged).sum();
    let repeated: usize = sent.iter().map(|sent| sent.repeated).sum();
    let torn = home.log().matches("cut the torn tail").count();
    println!(
        "{ROUNDS} kills, {acknowledged} acknowledged, {repeated} sent again, {torn} torn tails; \
         ready again after {:?} (median), {:?} (longest)",
        recoveries[recoveries.len() / 2],
        recoveries[recoveries.len() - 1]
    );
    assert!(repeated > 0, "no answer was ever lost: the server was not killed under load");
}

/// The numbers of an agent's messages in the order in which they are stored.
fn stored(home: &Home, file: &str, agent: usize) -> Vec<usize> {
    numbers(&database(&home.data(file)), &format!("agent-{agent}"))
}

/// A client that sends a message after the other, and each until it is acknowledged.
struct Sender {
    agent: usize,
    token: String,
    places: watch::Receiver<Place>,
}

struct Sent {
    agent: usize,
    acknowledged: usize,
    /// How often an answer did not come, and the message was sent again.
    repeated: usize,
}

impl Sender {
    async fn run(mut self) -> Sent {
        let mut sent = Sent { agent: self.agent, acknowledged: 0, repeated: 0 };
        let mut client = None;
        while !self.places.borrow().last {
            let request = self.request(sent.acknowledged);
            while !self.try_once(&mut client, &request).await {
                sent.repeated += 1;
            }
            sent.acknowledged += 1;
        }
        sent
    }

    fn request(&self, n: usize) -> Vec<u8> {
        let agent = self.agent;
        let body = format!(
            r#"{{"id":"agent-{agent}","type":"system_metrics","data":{{"type":"kill","body":{{"n":{n}}}}}}}"#
        );
        let request = Request::post("/data", &self.token);
        request.header("idempotency-key", &format!("message {n}")).json(&body).bytes()
    }

    /// Sends the message once, over a new connection if the old one is lost; whether it was acknowledged.
    async fn try_once(&mut self, client: &mut Option<Client>, request: &[u8]) -> bool {
        if client.is_none() {
            let place =
                self.places.wait_for(|place| place.address.is_some()).await.unwrap().clone();
            *client = Client::connect(&place.address.unwrap()).await.ok();
        }
        let Some(open) = client else {
            // Killed before the connection was made: nothing to do until the next one is there.
            let _ = self.places.changed().await;
            return false;
        };
        match open.exchange(request).await {
            Ok(answer) => {
                // 503 is the answer of a server that stops.
                assert!([200, 503].contains(&answer.status), "{answer:?}");
                answer.status == 200
            }
            Err(_) => {
                *client = None;
                false
            }
        }
    }
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_reported() {
    let home = Home::new();
    let server = Server::start(&home).await;
    let token = server.login().await;
    let mut client = server.client().await;
    let message = |n: usize| {
        let body = format!(
            r#"{{"id":"agent-0","type":"system_metrics","data":{{"type":"t","body":{{"n":{n}}}}}}}"#
        );
        Request::post("/data", &token).json(&body).bytes()
    };
    for n in 0..10 {
        assert_eq!(client.exchange(&message(n)).await.unwrap().status, 200);
    }
    server.kill().await;

    tear(&last_segment(&home));
    let server = Server::start(&home).await;
    assert!(home.log().contains("cut the torn tail of the log"), "{}", home.log());
    let mut client = server.client().await;
    assert_eq!(client.exchange(&message(10)).await.unwrap().status, 200);
    server.stop().await;
    assert!(
        stored(&home, "metrics.db", 0).into_iter().eq(0..11),
        "{:?}",
        stored(&home, "metrics.db", 0)
    );
}

/// Leaves what a power cut leaves of a record that was being written, behind the last whole one. Room that is filled in
/// advance holds zeros.
fn tear(segment: &Path) {
    let bytes = fs::read(segment).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let file = OpenOptions::new().write(true).open(segment).unwrap();
    file.write_all_at(b"half a record", end as u64).unwrap();
}

fn last_segment(home: &Home) -> PathBuf {
    let files = fs::read_dir(home.data("log")).unwrap().map(|entry| entry.unwrap().path());
    let segments = files.filter(|path| path.extension().is_some_and(|end| end == "log"));
    segments.max().unwrap_or_else(|| {
        panic!("no segment in {:?}", fs::read_dir(home.data("log")).unwrap().collect::<Vec<_>>())
    })
}
