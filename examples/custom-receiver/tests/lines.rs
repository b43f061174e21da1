//! The format of the file.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use custom_receiver::{Config, JsonLines};
use poa_testkit::{TestHost, receiver_factory};
use serde_json::{Value, json};

#[tokio::test]
async fn a_line_tells_who_sent_what() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("messages.jsonl");
    // As left by a crash in the middle of a write.
    std::fs::write(&path, "{\"message_id\":\"half").unwrap();
    let host =
        TestHost::with_receiver(receiver_factory::<JsonLines>(Config { path: path.clone() })).await;
    let data = json!({"cpu_load": 1.5});
    host.deliver(host.draft("agent-1", "system_metrics", &data)).await.unwrap();
    assert!(host.stop().await.is_clean());
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [line] = &lines[..] else { panic!("one line, not {lines:?}") };
    assert_eq!(line["agent_id"], "agent-1");
    assert_eq!(line["data_type"], "system_metrics");
    assert_eq!(line["data"], data);
}
