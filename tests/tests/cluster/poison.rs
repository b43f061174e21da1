//! A message that ends every process that gets it.

use std::time::Duration;

use poa_tests::{METRICS, PATIENCE, Server, until};

use crate::load::message;
use crate::node::{Cluster, token};

/// A receiver that ends the whole server when it gets the number 666, and writes every other number into a file.
const RECEIVER: &str = r#"
import json, os, signal, sys
out = open(sys.argv[1], "a")
for line in sys.stdin:
    frame = json.loads(line)
    if frame["type"] == "hello":
        print('{"type":"ready","protocol":1}', flush=True)
    elif frame["type"] == "batch":
        for message in frame["messages"]:
            n = message["data"]["body"]["n"]
            if n == 666:
                os.kill(os.getppid(), signal.SIGKILL)
                os._exit(1)
            out.write("%d\n" % n)
        out.flush()
        print(json.dumps({"type": "ack", "id": frame["id"]}), flush=True)
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_ends_the_process_ends_three_at_most_in_the_whole_cluster() {
    let cluster = Cluster::shared();
    let file = cluster.path().join("numbers");
    let section = format!(
        "[receivers.fragile]\nkind = \"exec\"\ncommand = [\"python3\", \"-c\", {RECEIVER:?}, {file:?}]\nsubscribe = {METRICS:?}\n"
    );
    let homes = [cluster.receivers_with(&section), cluster.receivers_with(&section)];
    let front_home = cluster.front_end();
    let mut nodes = [Some(Server::start(&homes[0]).await), Some(Server::start(&homes[1]).await)];
    let front = Server::start(&front_home).await;
    let token = token(&[&front]).await;
    for n in [0, 1, 666, 2, 3] {
        let answer = front.ask("rest", &message(&token, "agent-0", n)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let mut crashes = 0;
    let begin = std::time::Instant::now();
    while !is_complete(&file) {
        for (node, home) in nodes.iter_mut().zip(&homes) {
            if node.as_mut().is_some_and(Server::has_ended) {
                crashes += 1;
                *node = Some(Server::start(home).await);
            }
        }
        assert!(begin.elapsed() < 2 * PATIENCE, "{crashes} crashes, {:?}", read(&file));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Three: over a batch, over the same batch named in the cursor, over the message alone. A lease that runs out on a slow machine
    // counts as a crash, because other nodes cannot see the difference, so there may be fewer.
    println!("{crashes} processes ended");
    assert!((1..=3).contains(&crashes), "{crashes}");
    let set_aside = async || {
        let mut letters = 0;
        for node in nodes.iter().flatten() {
            letters += node.plugin("fragile").await["delivery"]["dead_lettered"].as_u64().unwrap();
        }
        (letters == 1).then_some(())
    };
    until("the message is among the dead letters", set_aside).await;
    front.stop().await;
    for node in nodes.into_iter().flatten() {
        node.stop().await;
    }
}

fn read(file: &std::path::Path) -> Vec<usize> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Whether every other message has arrived.
fn is_complete(file: &std::path::Path) -> bool {
    let numbers = read(file);
    [0, 1, 2, 3].iter().all(|number| numbers.contains(number))
}
