//! Idempotency keys count in the whole cluster.

use poa_tests::{Server, until};

use crate::load::message;
use crate::node::{Cluster, token};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_comes_again_through_another_front_end_is_stored_once() {
    let cluster = Cluster::shared();
    let homes = [cluster.both(), cluster.front_end()];
    let servers = [Server::start(&homes[0]).await, Server::start(&homes[1]).await];
    let token = token(&[&servers[0], &servers[1]]).await;
    let keyed = |n| message(&token, "agent-0", n).header("idempotency-key", "k");
    for server in &servers {
        let answer = server.ask("rest", &keyed(0)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let other_body = servers[1].ask("rest", &keyed(7)).await;
    assert_eq!(other_body.status, 422, "{other_body:?}");
    let after = servers[1].ask("rest", &message(&token, "agent-0", 1)).await;
    assert_eq!(after.status, 200, "{after:?}");
    until("both messages are stored", async || (cluster.stored("agent-0") == [0, 1]).then_some(()))
        .await;
    for server in servers {
        server.stop().await;
    }
}
