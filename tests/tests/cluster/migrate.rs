//! From the log of one machine to a cluster.

use poa_tests::{Home, METRICS, Server, database, numbers, program, sqlite, until};
use tokio::process::Command;

use crate::load::message;
use crate::node::Cluster;

async fn migrate(home: &Home) -> String {
    let mut command = Command::new(program());
    command.args(["--config", "poa.toml", "bus", "migrate"]).current_dir(home.path());
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A receiver that takes nothing while a file is there, and then writes the number of each message into another.
const RECEIVER: &str = r#"
import json, os, sys
out = open(sys.argv[1], "a")
for line in sys.stdin:
    frame = json.loads(line)
    if frame["type"] == "hello":
        print('{"type":"ready","protocol":1}', flush=True)
    elif frame["type"] == "batch":
        if os.path.exists(sys.argv[2]):
            print(json.dumps({"type": "retry", "id": frame["id"], "reason": "closed"}), flush=True)
            continue
        for message in frame["messages"]:
            out.write("%d\n" % message["data"]["body"]["n"])
        out.flush()
        print(json.dumps({"type": "ack", "id": frame["id"]}), flush=True)
"#;

#[tokio::test(flavor = "multi_thread")]
async fn backlogs_and_users_move_and_each_receiver_goes_on_where_it_was() {
    let cluster = Cluster::shared();
    let (file, closed) = (cluster.path().join("numbers"), cluster.path().join("closed"));
    std::fs::write(&closed, "").unwrap();
    let slow = format!(
        "[receivers.slow]\nkind = \"exec\"\ncommand = [\"python3\", \"-c\", {RECEIVER:?}, {file:?}, {closed:?}]\nsubscribe = {METRICS:?}\n\
         retry = {{ initial = \"100ms\", max = \"200ms\" }}\n"
    );
    let receivers = sqlite("local", "metrics.db", "") + &slow;
    let home = Home::with(&format!("{receivers}[stop]\ndrain = \"1s\"\n"));
    let server = Server::start(&home).await;
    let token = server.login().await;
    for n in 0..20 {
        let answer = server.ask("rest", &message(&token, "agent-0", n)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    server.drained("local").await;
    server.kill().await;

    let text = std::fs::read_to_string(home.config()).unwrap();
    std::fs::write(home.config(), text + &cluster.bus("")).unwrap();
    let told = migrate(&home).await;
    assert!(told.contains("20 messages moved") && told.contains("1 users added"), "{told}");
    let again = migrate(&home).await;
    assert!(again.contains("0 messages moved") && again.contains("0 users added"), "{again}");

    std::fs::remove_file(&closed).unwrap();
    let server = Server::start(&home).await;
    // The user and the token are good in the cluster.
    let answer = server.ask("rest", &message(&token, "agent-0", 20)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let numbers_of_slow = || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        text.lines().map(|line| line.parse().unwrap()).collect::<Vec<usize>>()
    };
    let complete = async || numbers_of_slow().into_iter().eq(0..=20).then_some(());
    until("the slow receiver has everything", complete).await;
    server.drained("local").await;
    let stored = numbers(&database(&home.data("metrics.db")), "agent-0");
    assert!(stored.iter().copied().eq(0..=20), "{stored:?}");
    server.stop().await;
}
