//! Users of a cluster: the same on every node.

use std::time::{Duration, Instant};

use poa_test_nats::{Servers, Setup};
use poa_tests::{Home, KEY, Request, Server, until};
use tokio::process::Command;

use crate::load::message;
use crate::node::{Cluster, token};

/// Changes the section `[auth]`.
fn change_auth(home: &Home, from: &str, to: &str) {
    let text = std::fs::read_to_string(home.config()).unwrap();
    assert!(text.contains(from));
    std::fs::write(home.config(), text.replace(from, to)).unwrap();
}

async fn status(server: &Server, token: &str) -> u16 {
    // A type that does not exist: refused, but only after the token.
    let request = Request::post("/data", token).json(r#"{"id":"a","type":"no type","data":{}}"#);
    server.ask("rest", &request).await.status
}

async fn user(home: &Home, arguments: &[&str]) {
    let mut command = Command::new(poa_tests::program());
    command.args(["--config", "poa.toml", "user"]).args(arguments).current_dir(home.path());
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn users_bans_and_the_generated_key_are_those_of_the_cluster() {
    let cluster = Cluster::shared();
    let homes = [cluster.both(), cluster.front_end()];
    for home in &homes {
        // Without a key in the configuration, the nodes agree on one.
        change_auth(home, &format!("secret_key = \"{KEY}\"\n"), "");
    }
    let servers = [Server::start(&homes[0]).await, Server::start(&homes[1]).await];
    let token = token(&[&servers[0], &servers[1]]).await;
    let answer = servers[1].ask("rest", &message(&token, "agent-0", 0)).await;
    assert_eq!(answer.status, 200, "{answer:?}");

    // A ban of a token at one node holds at the other.
    let ban = Request::new("POST", "/blacklist/token");
    let ban = ban.header("authorization", &poa_tests::basic(poa_tests::ADMIN));
    let banned = servers[0].ask("auth", &ban.json(&format!(r#"{{"token":"{token}"}}"#))).await;
    assert_eq!(banned.status, 200, "{banned:?}");
    let begin = Instant::now();
    let refused = async || (status(&servers[1], &token).await == 401).then_some(());
    until("the ban holds at the other node", refused).await;
    println!("a ban held at the other node after {:?}", begin.elapsed());

    // The command line changes the users of the cluster.
    servers[0].add_user("bob", "a long password", None).await;
    let login = Request::new("POST", "/session");
    let login =
        login.header("authorization", &poa_tests::basic(("bob", "a long password"))).json("{}");
    let token = until("the other node knows the new user", async || {
        let answer = servers[1].ask("auth", &login).await;
        (answer.status == 200).then(|| answer.json()["token"].as_str().unwrap().to_owned())
    })
    .await;
    assert_ne!(status(&servers[0], &token).await, 401);
    user(&homes[1], &["ban", "bob"]).await;
    let refused = async || (status(&servers[0], &token).await == 401).then_some(());
    until("the user is banned", refused).await;
    user(&homes[1], &["unban", "bob"]).await;
    let accepted = async || (status(&servers[0], &token).await != 401).then_some(());
    until("the user is active again", accepted).await;
    for server in servers {
        server.stop().await;
    }
    // Each node logs what came from others.
    for change in ["tokens revoked", "user added"] {
        assert!(arrived(&homes[1], change), "{change}: {}", homes[1].log());
    }
    for change in ["user banned", "user unbanned"] {
        assert!(homes.iter().all(|home| arrived(home, change)), "{change}: {}", homes[0].log());
    }
}

/// Whether a node has logged a change that came from the store.
fn arrived(home: &Home, change: &str) -> bool {
    let log = home.log();
    let mut lines = log.lines().filter(|line| line.contains("poa_audit"));
    lines.any(|line| line.contains(change) && line.contains("the shared store"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_contact_accepts_no_token_after_a_while() {
    let mut servers = Servers::start(Setup::cluster()).unwrap();
    let cluster = Cluster::on(&servers);
    let home = cluster.both();
    change_auth(&home, "[auth]\n", "[auth]\ntrust_without_contact = \"3s\"\n");
    let server = Server::start(&home).await;
    let token = token(&[&server]).await;
    let known = status(&server, &token).await;
    assert!(![401, 503].contains(&known), "{known}");
    servers.kill_all();
    let closed = async || (status(&server, &token).await == 503).then_some(());
    until("no token is accepted", closed).await;
    servers.resume_all().unwrap();
    let open = async || (status(&server, &token).await == known).then_some(());
    until("tokens are accepted again", open).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.stop().await;
}
