//! Receiver nodes whose clocks are an hour ahead of the others, and an hour behind.

use std::time::Duration;

use poa_tests::{Home, Server, program};
use tokio::process::Command;

use crate::load::Load;
use crate::node::{Cluster, shared, token};

/// A node with a clock of its own; time passes as everywhere.
async fn start(home: &Home, clock: &str) -> Server {
    let library = std::env::var_os("POA_TEST_FAKETIME").expect(
        "set POA_TEST_FAKETIME to the library libfaketimeMT.so.1, or run `cargo xtask test`",
    );
    let mut command = Command::new(program());
    command.env("LD_PRELOAD", library).env("FAKETIME", clock);
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("NO_FAKE_STAT", "1");
    Server::run(home, command).await
}

/// The time of the first line of a log.
fn began(log: &str) -> String {
    let line: serde_json::Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    line["timestamp"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn receivers_with_other_clocks_lose_nothing_and_keep_the_order() {
    let cluster = Cluster::shared();
    let homes =
        [cluster.front_end(), cluster.front_end(), cluster.receivers(), cluster.receivers()];
    let (ahead, behind) = (start(&homes[2], "+3600").await, start(&homes[3], "-3600").await);
    // Front ends need the same clock for another reason: tokens expire by it.
    let fronts = [Server::start(&homes[0]).await, Server::start(&homes[1]).await];
    // The second receiver node started after the first, by every clock but its own.
    let [first, second] = [&homes[2], &homes[3]].map(|home| began(&home.log()));
    assert!(second < first, "{second} is not before {first}");
    shared(&fronts[0], &[2, 2]).await;
    let token = token(&[&fronts[0], &fronts[1]]).await;
    let load = Load::start(&token, &[fronts[0].rest(), fronts[1].rest()]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    ahead.kill().await;
    shared(&fronts[0], &[4]).await;
    let again = start(&homes[2], "+3600").await;
    shared(&fronts[1], &[2, 2]).await;
    behind.stop().await;
    shared(&fronts[0], &[4]).await;
    load.check("clocks an hour ahead and behind", &cluster).await;
    for node in fronts.into_iter().chain([again]) {
        node.stop().await;
    }
}
