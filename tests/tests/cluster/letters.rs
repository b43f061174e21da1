//! Dead letters of a node that is gone, delivered by another.

use std::process::Output;

use poa_tests::{Home, METRICS, Server, program, until};
use tokio::process::Command;

use crate::load::message;
use crate::node::{Cluster, token};

/// A receiver that writes its name and the number of each message into a file, and refuses the number 666 while another file is there.
const RECEIVER: &str = r#"
import json, os, sys
name, lines, closed = sys.argv[1:]
out = open(lines, "a")
for line in sys.stdin:
    frame = json.loads(line)
    if frame["type"] == "hello":
        print('{"type":"ready","protocol":1}', flush=True)
    elif frame["type"] == "batch":
        numbers = [message["data"]["body"]["n"] for message in frame["messages"]]
        if 666 in numbers and os.path.exists(closed):
            refuse = {"type": "refuse", "id": frame["id"], "items": [numbers.index(666)], "reason": "closed"}
            print(json.dumps(refuse), flush=True)
            continue
        for number in numbers:
            out.write("%s %d\n" % (name, number))
        out.flush()
        print(json.dumps({"type": "ack", "id": frame["id"]}), flush=True)
"#;

async fn letters(home: &Home, arguments: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.args(["--config", "poa.toml", "dlq"]).args(arguments).current_dir(home.path());
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_of_a_node_are_replayed_on_another() {
    let cluster = Cluster::shared();
    let (file, closed) = (cluster.path().join("lines"), cluster.path().join("closed"));
    std::fs::write(&closed, "").unwrap();
    let home = |name: &str| {
        cluster.receivers_with(&format!(
            "[receivers.picky]\nkind = \"exec\"\ncommand = [\"python3\", \"-c\", {RECEIVER:?}, {name:?}, {file:?}, {closed:?}]\n\
             subscribe = {METRICS:?}\n"
        ))
    };
    let (one, two, front) = (home("one"), home("two"), cluster.front_end());
    let first = Server::start(&one).await;
    let front = Server::start(&front).await;
    let token = token(&[&front]).await;
    for n in [0, 666, 1] {
        let answer = front.ask("rest", &message(&token, "agent-0", n)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let lines = || std::fs::read_to_string(&file).unwrap_or_default();
    let delivered = async || (lines() == "one 0\none 1\n").then_some(());
    until("the other messages are delivered", delivered).await;
    let set_aside =
        async || (first.plugin("picky").await["delivery"]["dead_lettered"] == 1).then_some(());
    until("the message is a dead letter", set_aside).await;
    first.stop().await;

    // What an operator does when the machine of the first node is gone, and its disk is not.
    std::fs::create_dir_all(two.data("")).unwrap();
    std::fs::copy(one.data("dead_letters.db"), two.data("dead_letters.db")).unwrap();
    std::fs::remove_file(&closed).unwrap();
    let second = Server::start(&two).await;
    letters(&two, &["replay", "--all"]).await;
    let replayed = async || (lines() == "one 0\none 1\ntwo 666\n").then_some(());
    until("the letter is delivered on the other node", replayed).await;
    let gone = async || letters(&two, &["list"]).await.stdout.is_empty().then_some(());
    until("the letter is removed", gone).await;
    second.stop().await;
    front.stop().await;
}
