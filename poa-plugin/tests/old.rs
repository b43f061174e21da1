//! Plugins of earlier versions of the interface, as they were then: source and header are kept in `fixtures`.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod compile;

use std::path::Path;

use poa_core::{
    Ack, AgentId, Assigns, Draft, Format, Host, IdempotencyKey, Payload, ReceiverOptions, Registry,
};
use serde_json::{Value, json};

/// The lines that a receiver in C of this version stores of three messages with a key and assigns.
async fn stored_by(version: &str, kind: &str) -> Vec<String> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(version);
    let dir = tempfile::tempdir().unwrap();
    let source = std::fs::read_to_string(fixtures.join(kind).with_extension("c")).unwrap();
    let library = compile::c_against(&fixtures, dir.path(), kind, &source);
    let kinds = library.register(Registry::new());
    let stored = dir.path().join("stored.ndjson");
    let receiver = kinds.receivers()[kind].configure(json!({ "path": stored })).unwrap();
    let host = Host::builder()
        .data_dir(dir.path().join("data"))
        .data_types(["m"])
        .engine::<poa_engine_local::Memory>("memory", Default::default())
        .ack(Ack::Delivered)
        .receiver_from("old", ReceiverOptions::subscribe(["m"]), receiver)
        .start()
        .await
        .unwrap();
    let handle = host.handle();
    let agent = AgentId::new("agent-1").unwrap();
    let drafts = (0..3).map(|n| {
        let payload = Payload::new(Format::Json, format!("{{\"n\":{n}}}").into());
        let data_type = handle.data_types().get("m").unwrap().clone();
        let key = IdempotencyKey::new(&agent, &n.to_string()).unwrap();
        Draft::new(agent.clone(), data_type, payload)
            .with_assigns(Assigns::new().with("peer", n).unwrap())
            .with_idempotency_key(key)
    });
    let drafts: Vec<_> = drafts.collect();
    handle.context("test").send_all_to_receivers(drafts).unwrap().await.unwrap();
    assert!(host.stop().await.is_clean());
    let lines = std::fs::read_to_string(stored).unwrap();
    lines.lines().map(str::to_owned).collect()
}

/// It does not know the key and the assigns.
#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_of_version_1_0_still_works() {
    let lines = stored_by("1.0", "ndjson").await;
    let numbers: Vec<_> = lines
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["data"]["n"].clone())
        .collect();
    assert_eq!(numbers, [0, 1, 2]);
}

/// It has no `start`, so its `shutdown`, which would end the process, is not called.
#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_of_version_1_1_still_works() {
    let lines = stored_by("1.1", "extras").await;
    assert_eq!(lines, [r#"16 {"peer":0}"#, r#"16 {"peer":1}"#, r#"16 {"peer":2}"#]);
}
