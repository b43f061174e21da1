//! The cluster as operators see it.

use std::process::Output;

use poa_tests::{Home, Server, program, until};
use serde_json::Value;
use tokio::process::Command;

use crate::load::message;
use crate::node::{Cluster, shared, token};

async fn command(home: &Home, arguments: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.args(["--config", "poa.toml"]).args(arguments).current_dir(home.path());
    command.output().await.unwrap()
}

async fn json(home: &Home, arguments: &[&str]) -> Value {
    let output = command(home, arguments).await;
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_commands_show_who_holds_what() {
    let cluster = Cluster::shared();
    let (home, other_home) = (cluster.both(), cluster.receivers());
    let server = Server::start(&home).await;
    let other = Server::start(&other_home).await;
    shared(&server, &[2, 2]).await;
    let token = token(&[&server]).await;
    let answer = server.ask("rest", &message(&token, "agent-0", 0)).await;
    assert_eq!(answer.status, 200, "{answer:?}");

    let status = server.status().await;
    assert_eq!(status["engine"], "nats", "{status}");
    assert_eq!(status["bus"]["connected"], true, "{status}");
    assert!(status["bus"]["stream"]["leader"].is_string(), "{status}");
    let nodes = status["bus"]["receivers"]["local"]["nodes"].as_array().unwrap().len();
    assert_eq!(nodes, 2, "{status}");

    let listed = json(&home, &["receivers", "list", "--json"]).await;
    assert_eq!(listed[0]["name"], "local", "{listed}");
    assert_eq!(listed[0]["held"].as_object().unwrap().len(), 2, "{listed}");
    let state = json(&other_home, &["cluster", "status", "--json"]).await;
    assert!(state["stream"]["messages"].as_u64().unwrap() >= 1, "{state}");
    let caught_up = async || {
        let state = json(&home, &["cluster", "status", "--json"]).await;
        (state["receivers"][0]["backlog_messages"] == 0).then_some(())
    };
    until("nothing is behind", caught_up).await;

    let refused = command(&home, &["receivers", "forget", "local"]).await;
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("runs on"), "{refused:?}");
    other.stop().await;
    server.stop().await;
    let forgotten = command(&home, &["receivers", "forget", "local"]).await;
    assert!(forgotten.status.success(), "{forgotten:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_and_plan_accept_nodes_of_one_layer() {
    let cluster = Cluster::shared();
    for home in [cluster.front_end(), cluster.receivers()] {
        let checked = command(&home, &["check"]).await;
        assert!(checked.status.success(), "{checked:?}");
    }
    let nothing = cluster.receivers_with("");
    let checked = command(&nothing, &["check"]).await;
    assert_eq!(checked.status.code(), Some(2), "{checked:?}");
    assert!(String::from_utf8_lossy(&checked.stderr).contains("neither a handler nor a receiver"));

    let (home, server) = {
        let home = cluster.both();
        let server = Server::start(&home).await;
        (home, server)
    };
    let text = std::fs::read_to_string(home.config()).unwrap();
    let changed = text.replace("lease = \"3s\"", "lease = \"5s\"");
    std::fs::write(home.path().join("next.toml"), changed).unwrap();
    let planned = command(&home, &["plan", "--config", "next.toml"]).await;
    let shown = String::from_utf8_lossy(&planned.stdout).into_owned();
    assert!(shown.contains("bus"), "{planned:?}");
    server.stop().await;
}
