//! Clients of the monitor that read slowly, or not at all.

use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::support::{Subject, Watcher, soon};

const START: &str = r#"{"type":"start","sequence":"1","monitor":"CIN","parameters":{"cinID":"net","events":["create","destroy"]}}"#;

/// A network with two members, and a third container that is known but in no network.
async fn lab(tag: &str) -> Subject {
    let subject = Subject::new("").await;
    let document = json!({"cenList": [{"cenID": "lan", "containerIDs": ["c1", "c2"]}]});
    assert_eq!(subject.post("/cen/import", &document).await.status, 204);
    assert_eq!(subject.post("/cin/import", &json!({"net": ["lan"]})).await.status, 204);
    let json = [("content-type", "application/json")];
    let body = json!({"tag": tag}).to_string();
    assert_eq!(subject.send("PUT", "/host/host1/c3", &json, &body).await.status, 200);
    subject
}

async fn started(mut watcher: Watcher) -> Watcher {
    watcher.send(START).await;
    assert_eq!(watcher.next().await["type"], "response");
    watcher
}

/// The container of an event, and its kind.
fn told(event: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&event["message"][0]["containerID"]), text(&event["event"]))
}

/// The memory of this process, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// The tag is so long that what is told would fill every buffer many times.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_client_costs_little_and_is_disconnected() {
    const TAG: usize = 256 << 10;
    const ROUNDS: usize = 50;
    const MOST: u64 = 12 << 20;
    let subject = lab(&"x".repeat(TAG)).await;
    let mut dead = started(subject.watch_with_little_room().await).await;
    let mut other = started(subject.watch().await).await;
    let before = resident();
    for _ in 0..ROUNDS {
        assert_eq!(subject.put("/host/host1/c3/lan").await.status, 200);
        assert_eq!(told(&other.next().await), ("c3".to_owned(), "create".to_owned()));
        assert_eq!(subject.delete("/host/host1/c3/lan").await.status, 204);
        assert_eq!(told(&other.next().await), ("c3".to_owned(), "destroy".to_owned()));
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < MOST, "{grown} bytes more for {} that were not read", 2 * ROUNDS * TAG);

    // It is disconnected after 10 s, of which no event tells while it does not read. The first events are on its side of the connection.
    let mut events = 0;
    let ended = async {
        while let Some(Ok(message)) = dead.0.next().await {
            if message.is_close() {
                return;
            }
            events += usize::from(message.is_text());
        }
    };
    tokio::time::sleep(std::time::Duration::from_secs(11)).await;
    soon(ended).await;
    assert!(events < ROUNDS, "{events} events were read in the end");
    assert_eq!(subject.put("/host/host1/last/lan").await.status, 200);
    assert_eq!(told(&other.next().await).0, "last");
    drop(other);
    assert!(soon(subject.host.stop()).await.is_clean());
}

/// One that reads an event for every ten that happen gets several at once, and has the whole state in the end.
#[tokio::test]
async fn a_slow_client_misses_nothing_and_holds_up_no_other() {
    const MEMBERS: usize = 200;
    let subject = lab("blue").await;
    let mut slow = started(subject.watch().await).await;
    let mut other = started(subject.watch().await).await;
    let mut seen = 0;
    for n in 0..MEMBERS {
        assert_eq!(subject.put(&format!("/host/host1/n{n}/lan")).await.status, 200);
        assert_eq!(told(&other.next().await).0, format!("n{n}"), "the other hears of each at once");
        if n % 10 == 0 {
            seen += slow.next().await["message"].as_array().unwrap().len();
        }
    }
    while seen < MEMBERS {
        seen += slow.next().await["message"].as_array().unwrap().len();
    }
    assert_eq!(seen, MEMBERS);
    slow.expect_silence().await;
    drop((slow, other));
    assert!(soon(subject.host.stop()).await.is_clean());
}
