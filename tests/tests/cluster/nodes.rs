//! Nodes of each layer that come and go.

use std::time::{Duration, Instant};

use poa_tests::{Server, until};

use crate::load::Load;
use crate::node::{Cluster, shared, token};

#[tokio::test(flavor = "multi_thread")]
async fn front_ends_and_receivers_on_nodes_of_their_own() {
    let cluster = Cluster::shared();
    let homes =
        [cluster.front_end(), cluster.front_end(), cluster.receivers(), cluster.receivers()];
    let mut receivers = vec![Server::start(&homes[2]).await, Server::start(&homes[3]).await];
    let mut fronts = vec![Server::start(&homes[0]).await, Server::start(&homes[1]).await];
    shared(&fronts[0], &[2, 2]).await;
    let load =
        Load::start(&token(&[&fronts[0], &fronts[1]]).await, &[fronts[0].rest(), fronts[1].rest()]);
    for round in 0..rounds() {
        tokio::time::sleep(Duration::from_secs(1)).await;

        // A receiver node crashes. The first in the list does, and starts again at its end, so that the other is next.
        receivers.remove(0).kill().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        receivers.push(Server::start(&homes[2 + round % 2]).await);
        shared(&fronts[0], &[2, 2]).await;

        // A front end crashes.
        fronts.remove(0).kill().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        fronts.push(Server::start(&homes[round % 2]).await);
        load.move_to(&[fronts[0].rest(), fronts[1].rest()]);
        load.moves().await;
    }
    load.check("nodes of each layer are killed", &cluster).await;
    for server in fronts.into_iter().chain(receivers) {
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_share_a_receiver_and_take_over_from_one_that_is_killed() {
    let cluster = Cluster::shared();
    let (home, other_home) = (cluster.both(), cluster.both());
    let server = Server::start(&home).await;
    let mut other = Server::start(&other_home).await;
    shared(&server, &[2, 2]).await;
    let load = Load::start(&token(&[&server]).await, &[server.rest()]);
    for _ in 0..rounds() {
        tokio::time::sleep(Duration::from_millis(500)).await;
        other.kill().await;
        let killed = Instant::now();
        shared(&server, &[4]).await;
        println!("taken over {:?} after a crash, with a lease of 3 s", killed.elapsed());
        other = Server::start(&other_home).await;
        shared(&server, &[2, 2]).await;
    }
    load.check("a node of both layers is killed", &cluster).await;
    let stopping = Instant::now();
    server.stop().await;
    shared(&other, &[4]).await;
    println!("taken over {:?} after an orderly stop began", stopping.elapsed());
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_suspended_past_its_lease_moves_no_cursor() {
    let cluster = Cluster::shared();
    let (home, other_home) = (cluster.both(), cluster.receivers());
    let server = Server::start(&home).await;
    let other = Server::start(&other_home).await;
    shared(&server, &[2, 2]).await;
    let load = Load::start(&token(&[&server]).await, &[server.rest()]);
    for _ in 0..rounds() {
        tokio::time::sleep(Duration::from_millis(500)).await;
        other.freeze();
        shared(&server, &[4]).await;
        other.thaw();
        shared(&server, &[2, 2]).await;
    }
    load.check("a node is suspended past its lease", &cluster).await;
    server.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_loses_nothing() {
    let cluster = Cluster::shared();
    let homes = [cluster.both(), cluster.both()];
    let mut servers = vec![Server::start(&homes[0]).await, Server::start(&homes[1]).await];
    let token = token(&[&servers[0], &servers[1]]).await;
    let load = Load::start(&token, &[servers[0].rest(), servers[1].rest()]);
    for round in 0..2 * rounds() {
        tokio::time::sleep(Duration::from_millis(500)).await;
        // The first in the list stops; it starts again at the end of the list, so that the other is next.
        let stopping = servers.remove(0);
        stopping.stop().await;
        servers.push(Server::start(&homes[round % 2]).await);
        load.move_to(&[servers[0].rest(), servers[1].rest()]);
    }
    load.check("a rolling restart", &cluster).await;
    for server in servers {
        server.stop().await;
    }
}

/// A receiver of every node gets everything on every node, and holds nothing up.
#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_of_each_node_gets_every_message_on_each() {
    let cluster = Cluster::shared();
    let each = |name: &str| {
        let path = cluster.path().join(name);
        format!(
            "[receivers.each]\nkind = \"sqlite\"\nscope = \"each\"\npath = {path:?}\nsubscribe = {:?}\n",
            poa_tests::METRICS
        )
    };
    let homes = [cluster.receivers_with(&each("one.db")), cluster.receivers_with(&each("two.db"))];
    let servers = [Server::start(&homes[0]).await, Server::start(&homes[1]).await];
    let home = cluster.both();
    let front = Server::start(&home).await;
    let token = token(&[&front]).await;
    let mut client = front.client().await;
    for n in 0..20 {
        let request = crate::load::message(&token, "agent-0", n).bytes();
        assert_eq!(client.exchange(&request).await.unwrap().status, 200);
    }
    for name in ["one.db", "two.db"] {
        let all = async || {
            let database = poa_tests::database(&cluster.path().join(name));
            poa_tests::numbers(&database, "agent-0").into_iter().eq(0..20).then_some(())
        };
        until("every node has every message", all).await;
    }
    front.stop().await;
    for server in servers {
        server.stop().await;
    }
}

/// How often a fault is repeated.
pub(crate) fn rounds() -> usize {
    std::env::var("POA_TEST_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1)
}
