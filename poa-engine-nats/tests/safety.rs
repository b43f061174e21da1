//! Servers and streams that cannot keep what the engine promises.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;

use std::path::Path;
use std::time::Duration;

use common::accounts::Accounts;
use common::{Got, Node, prefix, quick, receive, settings, shared, soon, types};
use poa_core::engine::{Engine as _, Refused};
use poa_core::{BuildContext, BuildError, Plugin as _, ReceiverOptions};
use poa_engine_nats::{Config, Nats, Synced};
use poa_test_nats::{Servers, Setup};

/// Why an engine is not built, in full.
async fn refusal(config: Config) -> String {
    let dir = tempfile::tempdir().unwrap();
    let context = BuildContext::detached("nats", dir.path()).with_data_types(types());
    match soon("building ends", Nats::build(config, &context.with_bus(settings()))).await {
        Ok(_) => panic!("the engine was built"),
        Err(BuildError::Failed(why, _) | BuildError::Unavailable(why, _)) => why,
        Err(other) => other.to_string(),
    }
}

fn single(servers: &Servers, prefix: &str) -> Config {
    let mut config = Config::new(servers.urls(), 16 << 20);
    config.monitor = servers.monitors();
    config.replicas = 1;
    quick(config, prefix)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_syncs_later_is_refused_unless_that_is_waived() {
    let servers = Servers::start(Setup::single().lazy()).unwrap();
    let mut config = single(&servers, &prefix());
    let why = refusal(config.clone()).await;
    assert!(why.contains("n0") && why.contains("sync_interval: always"), "{why}");
    config.synced = Synced::Replicated;
    Node::start(config, "one").await.finish().await;
}

/// A server with accounts that are signed, a cluster of its own in miniature, and a configuration that sees it by these credentials.
fn signed(accounts: &Accounts, setup: Setup, system: &Path) -> (Servers, Config) {
    let servers = Servers::start(setup.accounts(&accounts.lines)).unwrap();
    let mut config = Config::new(servers.urls(), 16 << 20);
    config.replicas = 1;
    config.credentials = Some(accounts.client.clone());
    config.system_credentials = Some(system.to_owned());
    (servers, quick(config, &prefix()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_system_account_shows_whether_servers_sync() {
    let accounts = Accounts::new();
    let (_syncing, mut config) = signed(&accounts, Setup::single(), &accounts.system);
    Node::start(config.clone(), "one").await.finish().await;

    // Credentials of another account ask in vain.
    config.start_timeout = poa_core::config::Duration::from_secs(4);
    config.system_credentials = Some(accounts.client.clone());
    let why = refusal(config.clone()).await;
    assert!(why.contains("0 of 1 answered") && why.contains("system_credentials"), "{why}");
    config.system_credentials = Some("/nonexistent.creds".into());
    let why = refusal(config).await;
    assert!(why.contains("/nonexistent.creds"), "{why}");

    let (_lazy, mut config) = signed(&accounts, Setup::single().lazy(), &accounts.system);
    let why = refusal(config.clone()).await;
    assert!(why.contains("n0") && why.contains("sync_interval: always"), "{why}");
    config.synced = Synced::Replicated;
    Node::start(config, "one").await.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_do_not_answer_are_named() {
    let mut config = Config::new(["nats://127.0.0.1:1"], 1 << 20);
    config.synced = Synced::Trust;
    config.start_timeout = poa_core::config::Duration::from_secs(3);
    let why = refusal(config).await;
    assert!(why.contains("nats://127.0.0.1:1"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_replicas_than_servers_are_refused_with_the_cure() {
    let servers = Servers::start(Setup::single()).unwrap();
    let mut config = single(&servers, &prefix());
    config.replicas = 3;
    let why = refusal(config).await;
    assert!(why.contains("replicas = 1"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_number_of_partitions_is_fixed() {
    let mut config = shared(&prefix());
    Node::start(config.clone(), "one").await.finish().await;
    config.partitions = 8;
    let why = refusal(config).await;
    assert!(why.contains("has 4 partitions"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_larger_than_the_servers_take_is_refused() {
    let servers = Servers::start(Setup::single().set("max_payload: 8KB")).unwrap();
    let node = Node::build(single(&servers, &prefix()), "one").await;
    let _subscription = node.subscribe("local").await;
    node.engine.start().await.unwrap();
    let body = format!("{{\"n\":1,\"filler\":\"{}\"}}", "x".repeat(9000));
    let error = node.send_body("a", body).unwrap_err();
    assert!(matches!(error.reason(), Refused::TooLarge { limit: 7168, .. }), "{error:?}");
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_was_deleted_is_not_created_again_silently() {
    let servers = Servers::start(Setup::single()).unwrap();
    let config = single(&servers, &prefix());
    let node = Node::build(config.clone(), "one").await;
    let subscription = node.subscribe("local").await;
    node.engine.start().await.unwrap();
    soon("a receipt", node.send("a", 1).unwrap()).await.unwrap();
    receive(&*subscription, &mut Got::default(), 1).await;
    let admin = async_nats::connect(servers.urls()).await.unwrap();
    let stream = config.prefix.to_uppercase();
    admin.request(format!("$JS.API.STREAM.DELETE.{stream}"), "".into()).await.unwrap();
    let subjects = format!("{}.>", config.prefix);
    let other = serde_json::json!({ "name": "OTHER", "subjects": [subjects] }).to_string();
    admin.request("$JS.API.STREAM.CREATE.OTHER", other.into()).await.unwrap();
    assert!(!stores(&node, 2).await, "a message was stored in another stream");
    admin.request("$JS.API.STREAM.DELETE.OTHER", "".into()).await.unwrap();
    assert!(!stores(&node, 3).await, "a message was stored in a stream that is gone");
    node.finish().await;
    let why = refusal(config).await;
    assert!(why.contains("was deleted"), "{why}");
}

/// Whether a message is acknowledged.
async fn stores(node: &Node, number: u64) -> bool {
    match node.send("a", number) {
        Ok(receipt) => soon("an answer", receipt).await.is_ok(),
        Err(_) => false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_was_deleted_is_replaced_without_a_hole() {
    let servers = Servers::start(Setup::single()).unwrap();
    let config = single(&servers, &prefix());
    let stream = config.prefix.to_uppercase();
    let node = Node::build(config, "one").await;
    let subscription = node.subscribe("local").await;
    node.engine.start().await.unwrap();
    let admin = async_nats::connect(servers.urls()).await.unwrap();
    let mut got = Got::default();
    for number in 0..30 {
        soon("a receipt", node.send("a", number).unwrap()).await.unwrap();
        if number % 10 == 5 {
            delete_consumers(&admin, &stream).await;
        }
    }
    receive(&*subscription, &mut got, 30).await;
    assert_eq!(got.distinct("a"), (0..30).collect::<Vec<_>>());
    node.finish().await;
}

/// Created again silently, it would make the receiver skip its backlog.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_was_deleted_is_not_created_again_silently() {
    let servers = Servers::start(Setup::single()).unwrap();
    let mut config = single(&servers, &prefix());
    let admin = async_nats::connect(servers.urls()).await.unwrap();
    for (bucket, lost) in [("receivers", "the cursors of all"), ("shared", "the users of the")] {
        let node = Node::build(config.clone(), "one").await;
        let subscription = node.subscribe("local").await;
        node.engine.start().await.unwrap();
        soon("a receipt", node.send("a", 1).unwrap()).await.unwrap();
        let gone = format!("KV_{}_{bucket}", config.prefix);
        let answer = admin.request(format!("$JS.API.STREAM.DELETE.{gone}"), "".into()).await;
        let answer: serde_json::Value = serde_json::from_slice(&answer.unwrap().payload).unwrap();
        assert_eq!(answer["success"], true, "{gone}: {answer}");
        if bucket == "receivers" {
            let told = async {
                while !subscription.status().to_string().contains("was deleted") {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            soon("the status tells", told).await;
        }
        drop(subscription);
        node.finish().await;
        let why = refusal(config.clone()).await;
        assert!(why.contains("was deleted") && why.contains(lost), "{why}");
        config.recreate_buckets = true;
        let node = Node::build(config.clone(), "one").await;
        config.recreate_buckets = false;
        let options = ReceiverOptions::subscribe(["x", "y"]).from_start();
        let subscription = node.subscribe_with("local", &options).await;
        node.engine.start().await.unwrap();
        let mut got = Got::default();
        receive(&*subscription, &mut got, 1).await;
        assert_eq!(got.distinct("a"), [1]);
        node.finish().await;
    }
}

async fn delete_consumers(admin: &async_nats::Client, stream: &str) {
    let names = admin.request(format!("$JS.API.CONSUMER.NAMES.{stream}"), "".into()).await.unwrap();
    let names: serde_json::Value = serde_json::from_slice(&names.payload).unwrap();
    for name in names["consumers"].as_array().unwrap() {
        let subject = format!("$JS.API.CONSUMER.DELETE.{stream}.{}", name.as_str().unwrap());
        admin.request(subject, "".into()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_confirmed_leaves_the_stream_after_the_deduplication_window() {
    let mut bus = settings();
    bus.keys = bus.keys.time(Duration::from_millis(300));
    let node = Node::build_with(shared(&prefix()), "one", bus).await;
    let subscription = node.subscribe("local").await;
    node.engine.start().await.unwrap();
    for number in 0..20 {
        soon("a receipt", node.send(&format!("agent-{number}"), number).unwrap()).await.unwrap();
    }
    receive(&*subscription, &mut Got::default(), 20).await;
    soon("the stream is purged", async {
        while node.engine.status()["stream"]["messages"] != 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    node.finish().await;
}
