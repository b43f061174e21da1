//! Agents that hop between front ends.

use std::time::{Duration, Instant};

use poa_tests::{METRICS, Request, Server, until};

use crate::node::{Cluster, token};

/// A receiver that writes each change of activity into a file.
const RECEIVER: &str = r#"
import json, sys
out = open(sys.argv[1], "a")
for line in sys.stdin:
    frame = json.loads(line)
    if frame["type"] == "hello":
        print('{"type":"ready","protocol":1,"activity":true}', flush=True)
    elif frame["type"] in ("batch", "activity"):
        for agent in frame.get("agents", []):
            out.write("%s%s\n" % ("+" if agent["active"] else "-", agent["agent_id"]))
        out.flush()
        print(json.dumps({"type": "ack", "id": frame["id"]}), flush=True)
"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_hops_is_active_once_and_silent_once_whoever_dies() {
    let cluster = Cluster::shared();
    let file = cluster.path().join("changes");
    let section = format!(
        "[receivers.changes]\nkind = \"exec\"\ncommand = [\"python3\", \"-c\", {RECEIVER:?}, {file:?}]\nsubscribe = {METRICS:?}\n"
    );
    let homes = [cluster.front_end(), cluster.front_end(), cluster.receivers_with(&section)];
    let receiver = Server::start(&homes[2]).await;
    let fronts = [Server::start(&homes[0]).await, Server::start(&homes[1]).await];
    let token = token(&[&fronts[0], &fronts[1]]).await;
    let changes = || std::fs::read_to_string(&file).unwrap_or_default();

    // For longer than the timeout, each ping through the other front end.
    let begin = Instant::now();
    for turn in 0.. {
        let ping = Request::post("/ping", &token).json(r#"{"id":"hops"}"#);
        let answer = fronts[turn % 2].ask("rest", &ping).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        if begin.elapsed() > Duration::from_secs(9) {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(changes(), "+hops\n");

    // The front end that heard it last dies, and so does the other.
    let silent = Instant::now();
    for front in fronts {
        front.kill().await;
    }
    until("the silence is told", async || (changes() == "+hops\n-hops\n").then_some(())).await;
    assert!(silent.elapsed() > Duration::from_secs(6), "{:?}", silent.elapsed());
    println!("told {:?} after the last ping, both front ends dead", silent.elapsed());
    receiver.stop().await;
}
