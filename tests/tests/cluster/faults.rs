//! Servers that are killed under load.

use std::time::Duration;

use poa_test_nats::{Servers, Setup};
use poa_tests::{Home, Server, until};

use crate::load::Load;
use crate::node::{Cluster, shared, token};
use crate::nodes::rounds;

/// A front end and two receiver nodes on servers of their own, and a load.
struct Whole {
    servers: Servers,
    cluster: Cluster,
    nodes: Vec<Server>,
    homes: Vec<Home>,
    load: Load,
}

impl Whole {
    async fn start() -> Self {
        let servers = Servers::start(Setup::cluster()).unwrap();
        let cluster = Cluster::on(&servers);
        let homes = vec![cluster.front_end(), cluster.receivers(), cluster.receivers()];
        let mut nodes = Vec::new();
        for home in homes.iter().rev() {
            nodes.insert(0, Server::start(home).await);
        }
        shared(&nodes[0], &[2, 2]).await;
        let load = Load::start(&token(&[&nodes[0]]).await, &[nodes[0].rest()]);
        Self { servers, cluster, nodes, homes, load }
    }

    /// The server that leads the stream, as the front end sees it.
    async fn leader(&self) -> usize {
        until("the stream has a leader", async || {
            let status = self.nodes[0].status().await;
            status["bus"]["stream"]["leader"].as_str().and_then(|name| self.servers.named(name))
        })
        .await
    }

    async fn check(self, what: &str) {
        self.load.check(what, &self.cluster).await;
        for node in self.nodes {
            node.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_of_the_stream_is_killed_under_load() {
    let mut whole = Whole::start().await;
    for _ in 0..rounds() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let leader = whole.leader().await;
        whole.servers.kill(leader);
        tokio::time::sleep(Duration::from_secs(6)).await;
        whole.servers.resume(leader).unwrap();
    }
    whole.check("the leader of the stream is killed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_servers_are_killed_at_once_under_load() {
    let mut whole = Whole::start().await;
    for _ in 0..rounds() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        whole.servers.kill_all();
        whole.servers.resume_all().unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    whole.check("all servers are killed at once").await;
}

/// A receiver node is killed while the last of the servers has just come back.
#[tokio::test(flavor = "multi_thread")]
async fn servers_restart_one_after_the_other_and_a_receiver_node_with_them() {
    let mut whole = Whole::start().await;
    for _ in 0..rounds() {
        for server in 0..whole.servers.count() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            whole.servers.stop(server);
            whole.servers.resume(server).unwrap();
        }
        whole.nodes.pop().unwrap().kill().await;
        let node = Server::start(&whole.homes[whole.nodes.len()]).await;
        whole.nodes.push(node);
    }
    whole.check("servers restart in order, a receiver node is killed").await;
}
