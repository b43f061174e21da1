//! Servers that are killed, stopped and filled, under a load of messages: nothing that was acknowledged is lost, and the messages of an
//! agent keep their order.
//!
//! `POA_TEST_ROUNDS` sets how often servers are killed; `cargo xtask soak cluster` sets it to 20.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use common::{Got, Node, limits, prefix, quick, soon};
use poa_core::engine::{Engine as _, Subscription};
use poa_engine_nats::Config;
use poa_test_nats::{Servers, Setup};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const AGENTS: u64 = 4;

fn rounds() -> usize {
    std::env::var("POA_TEST_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1)
}

fn config(servers: &Servers, prefix: &str) -> Config {
    let mut config = Config::new(servers.urls(), 64 << 20);
    config.monitor = servers.monitors();
    quick(config, prefix)
}

/// Agents that send one message after the other, each until it is stored.
struct Load {
    stop: Arc<AtomicBool>,
    agents: Vec<JoinHandle<Vec<usize>>>,
}

impl Load {
    fn start(node: &Arc<Node>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let agent = |agent: u64| {
            let (node, stop) = (node.clone(), stop.clone());
            tokio::spawn(async move {
                let mut sent = Vec::new();
                while !stop.load(Relaxed) {
                    let (name, number) = (format!("agent-{agent}"), sent.len() as u64);
                    sent.push(node.send_until_stored(&name, number).await);
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                sent
            })
        };
        Self { agents: (0..AGENTS).map(agent).collect(), stop }
    }

    /// How often each agent has sent each of its messages, all stored.
    async fn stop(self) -> Vec<Vec<usize>> {
        self.stop.store(true, Relaxed);
        let mut sent = Vec::new();
        for agent in self.agents {
            sent.push(soon("an agent ends", agent).await.unwrap());
        }
        sent
    }
}

/// Confirms everything until it is told which messages must have come, and all of them have.
async fn drain(
    subscription: Arc<dyn Subscription>,
    mut expected: oneshot::Receiver<Vec<u64>>,
) -> Got {
    let (mut got, limits) = (Got::default(), limits());
    let mut wanted: Option<Vec<u64>> = None;
    while !wanted.as_ref().is_some_and(|sent| has_all(&got, sent)) {
        tokio::select! {
            batch = subscription.next_batch(&limits) => {
                got.take(&batch.unwrap());
                subscription.confirm(&[]);
            }
            sent = &mut expected, if wanted.is_none() => wanted = Some(sent.unwrap()),
        }
    }
    got
}

fn has_all(got: &Got, sent: &[u64]) -> bool {
    sent.iter().enumerate().all(|(agent, count)| {
        let numbers: BTreeSet<_> = got.distinct(&format!("agent-{agent}")).into_iter().collect();
        numbers.len() as u64 == *count
    })
}

/// Runs a load while `disturb` does something to the servers, then expects every message, in order.
async fn survive(mut servers: Servers, disturb: impl AsyncFnOnce(&mut Servers, &Node)) {
    let node = Arc::new(Node::build(config(&servers, &prefix()), "one").await);
    let subscription = node.subscribe("local").await;
    node.engine.start().await.unwrap();
    let (tell, expected) = oneshot::channel();
    let receiving = tokio::spawn(drain(subscription, expected));
    let load = Load::start(&node);
    disturb(&mut servers, &node).await;
    let sent = load.stop().await;
    let counts: Vec<_> = sent.iter().map(|sent| sent.len() as u64).collect();
    assert!(counts.iter().all(|count| *count > 10), "the load stood still: {counts:?}");
    tell.send(counts).unwrap();
    let got = soon("every message arrives", receiving).await.unwrap();
    for (agent, sent) in sent.iter().enumerate() {
        got.assert_ordered_by_first_arrival(&format!("agent-{agent}"), sent);
    }
    node.engine.close();
    soon("the engine ends", node.engine.finish()).await;
}

/// The server that leads the stream.
async fn leader(servers: &Servers, node: &Node) -> usize {
    loop {
        let status = node.engine.status();
        let stream = status["stream"]["leader"].as_str().and_then(|name| servers.named(name));
        match stream {
            Some(server) => return server,
            None => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_of_the_stream_is_killed() {
    survive(Servers::start(Setup::cluster()).unwrap(), async |servers, node| {
        for _ in 0..rounds() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let leader = leader(servers, node).await;
            servers.kill(leader);
            tokio::time::sleep(Duration::from_secs(6)).await;
            servers.resume(leader).unwrap();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_servers_are_killed_at_once() {
    survive(Servers::start(Setup::cluster()).unwrap(), async |servers, _| {
        for _ in 0..rounds() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            servers.kill_all();
            servers.resume_all().unwrap();
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_left() {
    survive(Servers::start(Setup::cluster()).unwrap(), async |servers, node| {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let connected = node.engine.status()["server"].as_str().unwrap().to_owned();
        let server = servers.named(&connected).unwrap();
        servers.freeze(server);
        soon("messages are stored through another server", async {
            while node.engine.status()["server"] == connected.as_str() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            node.send_until_stored("other", 0).await;
        })
        .await;
        servers.thaw(server);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_stream_refuses_and_recovers() {
    let servers = Servers::start(Setup::single()).unwrap();
    let mut config = config(&servers, &prefix());
    (config.replicas, config.max_bytes) = (1, poa_core::config::Size::bytes(64 << 10));
    let mut bus = common::settings();
    bus.keys = bus.keys.time(Duration::from_millis(200));
    let node = Node::build_with(config, "one", bus).await;
    let subscription = node.subscribe("local").await;
    node.engine.start().await.unwrap();
    let mut sent = 0;
    // The backlog of the receiver or the stream is full: either way a refusal, and nothing that was taken is lost.
    soon("messages are refused", async {
        while let Ok(receipt) = node.send("a", sent) {
            if receipt.await.is_err() {
                break;
            }
            sent += 1;
        }
    })
    .await;
    assert!(sent > 10, "{sent}");
    let mut got = Got::default();
    common::receive(&*subscription, &mut got, sent as usize).await;
    assert_eq!(got.distinct("a"), (0..sent).collect::<Vec<_>>());
    // The next message is one that was refused before.
    let sending = node.send_until_stored("a", sent);
    soon("there is room again", sending).await;
    node.finish().await;
}
