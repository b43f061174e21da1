//! Watchers of several nodes that share a store.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::fake::{Published, Store, bus};
use super::{ActivityMonitor, Watcher};
use crate::AgentId;
use crate::bus::Bus;

const TIMEOUT: Duration = Duration::from_secs(7);

/// A node of a cluster. All nodes publish into one bus.
struct Node {
    monitor: ActivityMonitor,
    task: JoinHandle<()>,
}

fn node(bus: &Bus, store: &Arc<Store>) -> Node {
    let watcher = Watcher::new(bus.clone(), TIMEOUT).sharing(store.clone());
    let watcher = Arc::new(watcher);
    let monitor = ActivityMonitor::of(&watcher);
    Node { monitor, task: tokio::spawn(async move { watcher.run().await }) }
}

fn cluster() -> ([Node; 3], Arc<Store>, Bus, Published) {
    let (bus, published) = bus();
    let store = Arc::new(Store::default());
    let nodes = [node(&bus, &store), node(&bus, &store), node(&bus, &store)];
    (nodes, store, bus, published)
}

fn agent(name: &str) -> AgentId {
    AgentId::new(name).unwrap()
}

/// The published changes, as `+agent` and `-agent`.
async fn told(published: &Published, count: usize) -> Vec<String> {
    let mut all = Vec::new();
    while all.len() < count {
        for change in published.next().await {
            all.push(format!("{}{}", if change.active { '+' } else { '-' }, change.agent_id));
        }
    }
    all
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_changes_nodes_is_reported_once_each_time() {
    let (nodes, store, _bus, published) = cluster();
    let hopping = agent("hops");
    for turn in 0..30 {
        nodes[turn % 3].monitor.ping(&hopping);
        sleep(Duration::from_secs(3)).await;
    }
    assert_eq!(told(&published, 1).await, ["+hops"]);
    assert!(published.is_empty());
    let last = Instant::now() - Duration::from_secs(3);
    assert_eq!(told(&published, 1).await, ["-hops"]);
    let silent = last.elapsed();
    assert!(silent >= TIMEOUT && silent < TIMEOUT + Duration::from_secs(1), "{silent:?}");
    sleep(Duration::from_secs(30)).await;
    assert!(published.is_empty());
    assert!(!store.has("active/hops"));
    assert_eq!(nodes.map(|node| node.monitor.active()), [0; 3]);
}

#[tokio::test(start_paused = true)]
async fn the_agents_of_a_node_that_dies_are_watched_by_the_others() {
    let ([dying, other, third], _store, bus, published) = cluster();
    for name in ["stays", "goes"] {
        dying.monitor.ping(&agent(name));
    }
    let mut active = told(&published, 2).await;
    active.sort();
    assert_eq!(active, ["+goes", "+stays"]);
    dying.task.abort();
    drop(dying);
    for _ in 0..5 {
        sleep(Duration::from_secs(2)).await;
        other.monitor.ping(&agent("stays"));
    }
    assert_eq!(told(&published, 1).await, ["-goes"]);
    // A new set of nodes: all they know is in the store.
    other.task.abort();
    third.task.abort();
    let _late = node(&bus, &_store);
    assert_eq!(told(&published, 1).await, ["-stays"]);
    sleep(Duration::from_secs(30)).await;
    assert!(published.is_empty());
}

#[tokio::test(start_paused = true)]
async fn leaving_is_reported_immediately_and_moving_to_another_node_is_not() {
    let ([first, second, _], _store, _bus, published) = cluster();
    let mut link = first.monitor.link();
    link.ping(&agent("a"));
    assert_eq!(told(&published, 1).await, ["+a"]);
    sleep(Duration::from_secs(1)).await;
    // The connection moves to another node.
    drop(link);
    let mut link = second.monitor.link();
    link.ping(&agent("a"));
    sleep(Duration::from_secs(5)).await;
    assert!(published.is_empty());
    let begin = Instant::now();
    first.monitor.bye(&agent("a"));
    assert_eq!(told(&published, 1).await, ["-a"]);
    assert!(begin.elapsed() < Duration::from_secs(1));
    // The other node knows it already.
    sleep(Duration::from_secs(1)).await;
    second.monitor.bye(&agent("a"));
    sleep(Duration::from_secs(30)).await;
    assert!(published.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_timeout_of_a_handler_holds_on_every_node() {
    let ([first, other, _], _store, _bus, published) = cluster();
    let patience = Duration::from_secs(30);
    let patient = first.monitor.clone().with_timeout(patience);
    patient.ping(&agent("seldom b"));
    other.monitor.ping(&agent("often"));
    told(&published, 2).await;
    let begin = Instant::now();
    // An agent that hops is heard over the handler with the long timeout on one node, and over the other on another.
    sleep(Duration::from_secs(1)).await;
    other.monitor.data(&agent("seldom b"));
    assert_eq!(told(&published, 1).await, ["-often"]);
    assert!(begin.elapsed() < patience / 2, "{:?}", begin.elapsed());
    assert_eq!(told(&published, 1).await, ["-seldom b"]);
    let silent = begin.elapsed();
    assert!(silent + Duration::from_secs(1) >= patience, "{silent:?}");
    assert!(silent < patience + TIMEOUT, "{silent:?}");
    sleep(Duration::from_secs(60)).await;
    assert!(published.is_empty());
}
