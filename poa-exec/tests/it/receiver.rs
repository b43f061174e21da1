//! A receiver and its host.

use std::path::Path;

use poa_core::{Activity, AgentId, DeliveryError, Receiver as _, Timestamp};
use poa_exec::{Config, ExecReceiver};
use poa_testkit::{Samples, TestHost, receiver_factory};
use serde_json::json;

use crate::{ACK, NEXT, READY, build, scratch, sh, sh_in, transient};

#[tokio::test]
async fn batches_are_confirmed_one_after_the_other() {
    let dir = scratch();
    let script = ["while true; do", NEXT, r#"echo "$line" >> "$dir/seen""#, ACK, "done"];
    let greet =
        r#"read -r hello; echo "$hello" > "$dir/hello"; echo '{"type":"ready","protocol":1}'"#;
    let config = sh_in(dir.path(), &[&[greet][..], &script].concat()).option("path", "x.db");
    let mut receiver = build(config).await.unwrap();
    let mut samples = Samples::default();
    for n in 0..3 {
        let message = samples.message("a", "system_metrics", &serde_json::json!({"n": n}));
        receiver.metrics_received(&[message]).await.unwrap();
    }
    let seen = std::fs::read_to_string(dir.path().join("seen")).unwrap();
    assert_eq!(seen.lines().count(), 3, "{seen}");
    assert!(seen.contains(r#""data":{"n":2}"#), "{seen}");
    let hello = std::fs::read_to_string(dir.path().join("hello")).unwrap();
    let hello: serde_json::Value = serde_json::from_str(&hello).unwrap();
    assert_eq!(hello["role"], "receiver");
    assert_eq!(hello["options"]["path"], "x.db");
}

#[tokio::test]
async fn a_child_says_what_kind_of_error_it_met() {
    let mut samples = Samples::default();
    let messages = [samples.json("a", "system_metrics", "{}")];
    let retry = r#"echo "{\"type\":\"retry\",\"id\":$id,\"reason\":\"locked\"}""#;
    let refuse = r#"echo "{\"type\":\"refuse\",\"id\":$id,\"items\":[0],\"reason\":\"too old\"}""#;
    let config = sh(&[READY, NEXT, retry, NEXT, refuse, NEXT, ACK, "read -r stop"]);
    let mut receiver = build(config).await.unwrap();
    let error = receiver.metrics_received(&messages).await.unwrap_err();
    assert_eq!(transient(error), "locked");
    let error = receiver.metrics_received(&messages).await.unwrap_err();
    let DeliveryError::Permanent { items, source } = error else { panic!("{error:?}") };
    assert_eq!((items, source.to_string()), (vec![0], "too old".to_owned()));
    receiver.metrics_received(&messages).await.unwrap();
}

#[tokio::test]
async fn activity_goes_to_those_who_want_it() {
    let change = [Activity::new(AgentId::new("a").unwrap(), false, Timestamp::now())];
    let mut deaf = build(sh(&[READY, "read -r stop"])).await.unwrap();
    deaf.handle_inactive(&change).await.unwrap();

    let dir = scratch();
    let greet = r#"read -r hello; echo '{"type":"ready","protocol":1,"activity":true}'"#;
    let script = [greet, NEXT, r#"echo "$line" > "$dir/seen""#, ACK, "read -r stop"];
    let mut receiver = build(sh_in(dir.path(), &script)).await.unwrap();
    receiver.handle_inactive(&change).await.unwrap();
    let seen = std::fs::read_to_string(dir.path().join("seen")).unwrap();
    assert!(
        seen.starts_with(r#"{"type":"activity","id":1,"agents":[{"agent_id":"a","active":false,"#),
        "{seen}"
    );
}

#[tokio::test]
async fn a_child_that_died_is_started_anew() {
    let dir = scratch();
    let count = r#"echo x >> "$dir/starts"; starts=$(wc -l < "$dir/starts")"#;
    let script = [READY, count, NEXT, "test $starts -gt 1 || exit 3", ACK, "read -r stop"];
    let mut receiver = build(sh_in(dir.path(), &script)).await.unwrap();
    let messages = [Samples::default().json("a", "system_metrics", "{}")];
    let error = transient(receiver.metrics_received(&messages).await.unwrap_err());
    assert_eq!(error, "`sh` ended with messages in flight (exit status: 3)");
    receiver.metrics_received(&messages).await.unwrap();
    receiver.terminate().await;
}

#[tokio::test]
async fn a_child_that_ends_between_two_batches_costs_neither() {
    let dir = scratch();
    let script = [READY, NEXT, ACK, "exec >&-", "wait"];
    let mut receiver = build(sh_in(dir.path(), &script)).await.unwrap();
    let messages = [Samples::default().json("a", "system_metrics", "{}")];
    receiver.metrics_received(&messages).await.unwrap();
    // The first one may or may not have ended by now; it is not said that it may lose anything.
    while let Err(error) = receiver.metrics_received(&messages).await {
        assert!(transient(error).contains("ended with messages in flight"));
    }
}

/// Asks for a `start`, as a child does that works in the background.
const READY_TO_START: &str = r#"read -r hello; echo '{"type":"ready","protocol":1,"start":true}'"#;
const NOTE: &str = r#"echo "$line" >> "$dir/seen""#;

/// The types and ids of the frames that a script noted.
fn noted(dir: &Path) -> Vec<(String, u64)> {
    let seen = std::fs::read_to_string(dir.join("seen")).unwrap();
    let frame = |line: &str| {
        let frame: serde_json::Value = serde_json::from_str(line).unwrap();
        (frame["type"].as_str().unwrap().to_owned(), frame["id"].as_u64().unwrap())
    };
    seen.lines().map(frame).collect()
}

/// A host with the child as its only receiver.
async fn host(config: Config) -> TestHost {
    TestHost::with_receiver(receiver_factory::<ExecReceiver>(config)).await
}

async fn deliver(host: &TestHost) {
    host.deliver(host.draft("a", "system_metrics", &json!({}))).await.unwrap();
}

#[tokio::test]
async fn a_child_that_asks_for_it_starts_before_its_first_batch() {
    let dir = scratch();
    let script = [READY_TO_START, NEXT, NOTE, ACK, NEXT, NOTE, ACK, "read -r stop"];
    let host = host(sh_in(dir.path(), &script)).await;
    deliver(&host).await;
    assert!(host.stop().await.is_clean());
    let types: Vec<_> = noted(dir.path()).into_iter().map(|(name, _)| name).collect();
    assert_eq!(types, ["start", "batch"]);
}

#[tokio::test]
async fn a_child_that_does_not_ask_gets_no_start() {
    let dir = scratch();
    let host = host(sh_in(dir.path(), &[READY, NEXT, NOTE, ACK, "read -r stop"])).await;
    deliver(&host).await;
    assert!(host.stop().await.is_clean());
    assert_eq!(noted(dir.path()), [("batch".to_owned(), 1)]);
}

#[tokio::test]
async fn a_child_that_cannot_start_is_replaced() {
    let dir = scratch();
    let count = r#"echo x >> "$dir/starts"; starts=$(wc -l < "$dir/starts")"#;
    let retry = r#"echo "{\"type\":\"retry\",\"id\":$id,\"reason\":\"no network\"}""#;
    let fail = format!("if test $starts -le 1; then {retry}; read -r stop; exit; fi");
    let script = [READY_TO_START, count, NEXT, &fail, ACK, NEXT, ACK, "read -r stop"];
    let host = host(sh_in(dir.path(), &script)).await;
    deliver(&host).await;
    assert_eq!(host.status("subject").restarts, 1);
    assert!(host.stop().await.is_clean());
}

/// A child that ends is replaced within the same receiver, and the next one is started, too.
#[tokio::test]
async fn every_child_of_a_started_receiver_starts() {
    let dir = scratch();
    let script = [READY_TO_START, NEXT, NOTE, ACK, NEXT, NOTE, ACK, "exit"];
    let host = host(sh_in(dir.path(), &script)).await;
    for _ in 0..2 {
        deliver(&host).await;
    }
    assert_eq!(host.status("subject").restarts, 0);
    host.stop().await;
    let types: Vec<_> = noted(dir.path()).into_iter().map(|(name, _)| name).collect();
    assert_eq!(types, ["start", "batch", "start", "batch"]);
}
