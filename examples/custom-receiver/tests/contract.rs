//! The contract of all receivers that store, and what is this one's own.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::path::Path;

use custom_receiver::{Config, JsonLines};
use poa_testkit::{TestHost, factory, receiver_contract};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn lines<T: DeserializeOwned>(path: &Path) -> Vec<T> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// All that the contract needs to know: some of its numbers are too large to be read.
#[derive(Deserialize)]
struct Stored {
    message_id: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn honours_the_receiver_contract() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("messages.jsonl");
    let stored = async || lines::<Stored>(&path).into_iter().map(|line| line.message_id).collect();
    receiver_contract(factory::<JsonLines>(Config { path: path.clone() }), stored).await;
}

#[tokio::test]
async fn a_line_tells_who_sent_what() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("messages.jsonl");
    // What a crash in the middle of a write leaves.
    std::fs::write(&path, "{\"message_id\":\"half").unwrap();
    let host = TestHost::with_receiver(factory::<JsonLines>(Config { path: path.clone() })).await;
    let data = json!({"cpu_load": 1.5});
    host.deliver(host.draft("agent-1", "system_metrics", &data)).await.unwrap();
    assert!(host.stop().await.is_clean());
    let lines = lines::<Value>(&path);
    let [line] = &lines[..] else { panic!("one line, not {lines:?}") };
    assert_eq!(line["agent_id"], "agent-1");
    assert_eq!(line["data_type"], "system_metrics");
    assert_eq!(line["data"], data);
}
