//! A receiver and its host.

use poa_core::{Activity, AgentId, DeliveryError, Receiver as _, Timestamp};
use poa_testkit::Samples;

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
