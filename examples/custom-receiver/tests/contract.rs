//! The receiver contract.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use custom_receiver::{Config, JsonLines};
use poa_testkit::{receiver_contract, receiver_factory};
use serde::Deserialize;

/// The part of a line that the contract needs: some numbers in the rest are too large to parse.
#[derive(Deserialize)]
struct Stored {
    message_id: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn honours_the_receiver_contract() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("messages.jsonl");
    // Your own: read back the stored ids, oldest first.
    let stored = async || {
        let text = std::fs::read_to_string(&path).unwrap();
        let id = |line| serde_json::from_str::<Stored>(line).unwrap().message_id;
        text.lines().map(id).collect()
    };
    receiver_contract(receiver_factory::<JsonLines>(Config { path: path.clone() }), stored).await;
}
