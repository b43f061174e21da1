//! Networks that are cut: each machine is a network namespace, and what is to be cut off has no route any more.

use std::time::{Duration, Instant};

use poa_test_nats::{Servers, Setup};
use poa_tests::{Client, HERE, METRICS, Network, Server, isolated, program, until};

use crate::load::message;
use crate::node::{Cluster, held, token};

const SERVERS: [&str; 3] = ["n0", "n1", "n2"];
/// The longest that a front end tries to store a message, with room for a machine that is busy.
const BOUND: Duration = Duration::from_secs(8 + 7);
/// How long the front end is watched while it is cut off.
const CUT: Duration = Duration::from_secs(10);

fn servers(network: &Network) -> Servers {
    Servers::start(Setup::cluster().within(network.places(&SERVERS))).unwrap()
}

/// An agent that sends one message after the other, each until it is acknowledged.
struct Agent {
    token: String,
    client: Client,
    next: usize,
}

impl Agent {
    /// Sends the next message once. Returns the status.
    async fn send(&mut self) -> u16 {
        let key = format!("message {}", self.next);
        let request = message(&self.token, "agent-0", self.next).header("idempotency-key", &key);
        let sent = tokio::time::timeout(BOUND, self.client.exchange(&request.bytes())).await;
        let answer = sent.expect("an answer within the bound").unwrap();
        match answer.status {
            200 => self.next += 1,
            status => assert_eq!(status, 503, "{answer:?}"),
        }
        answer.status
    }

    async fn until(&mut self, status: u16) -> Duration {
        let begin = Instant::now();
        until(&format!("an answer {status}"), async || (self.send().await == status).then_some(()))
            .await;
        begin.elapsed()
    }
}

/// First the front end and its server are cut off from the others, then its server alone.
async fn minority() {
    let network = Network::of(&["n0", "n1", "n2", "r"]);
    let servers = servers(&network);
    let cluster = Cluster::on(&servers);
    let (home, receivers) = (cluster.front_end(), cluster.receivers());
    let receivers = Server::run(&receivers, network.command("r", &program())).await;
    let front = Server::start(&home).await;
    let mut agent = Agent { token: token(&[&front]).await, client: front.client().await, next: 0 };
    agent.until(200).await;
    let connected = async || front.status().await["bus"]["server"].as_str().unwrap().to_owned();
    let own = connected().await;
    let others: Vec<_> = SERVERS.into_iter().filter(|name| *name != own).collect();

    network.cut(&own, &others);
    network.cut(HERE, &others);
    let noticed = agent.until(503).await;
    let cut = Instant::now();
    while cut.elapsed() < CUT {
        assert_eq!(agent.send().await, 503);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    network.heal(HERE, &others);
    let back = agent.until(200).await;
    println!("503 {noticed:?} after the cut, 200 {back:?} after the way to the others is open");
    assert_ne!(connected().await, own);
    for _ in 0..20 {
        agent.until(200).await;
    }

    network.heal(&own, &others);
    let all = async || (cluster.stored("agent-0").len() >= agent.next).then_some(());
    until("every message is stored", all).await;
    assert!(cluster.stored("agent-0").into_iter().eq(0..agent.next));
    front.stop().await;
    receivers.stop().await;
}

#[test]
fn a_front_end_on_the_minority_side_refuses_and_comes_back_through_another_server() {
    let name =
        "partition::a_front_end_on_the_minority_side_refuses_and_comes_back_through_another_server";
    isolated(name, minority());
}

/// A receiver that writes its name and the number of each message into a file, and keeps batches for as long as another file is there.
const RECEIVER: &str = r#"
import json, os, sys, time
name, lines, hold = sys.argv[1:]
out = open(lines, "a")
for line in sys.stdin:
    frame = json.loads(line)
    if frame["type"] == "hello":
        print('{"type":"ready","protocol":1}', flush=True)
    elif frame["type"] == "batch":
        for message in frame["messages"]:
            out.write("%s %d\n" % (name, message["data"]["body"]["n"]))
        out.flush()
        while os.path.exists(hold):
            time.sleep(0.01)
        print(json.dumps({"type": "ack", "id": frame["id"]}), flush=True)
"#;

/// A receiver node is cut off while it has a message in flight, which it finishes before its lease has run out, so that the write of its
/// cursor is on the way when the other node takes over.
async fn receiver() {
    let network = Network::of(&["n0", "n1", "n2", "a", "b"]);
    let servers = servers(&network);
    let cluster = Cluster::on(&servers);
    let file = |name: &str| cluster.path().join(name);
    let home = |name: &str| {
        let (lines, hold) = (file("lines"), file(&format!("hold-{name}")));
        cluster.receivers_with(&format!(
            "[receivers.local]\nkind = \"exec\"\ncommand = [\"python3\", \"-c\", {RECEIVER:?}, {name:?}, {lines:?}, {hold:?}]\n\
             subscribe = {METRICS:?}\n"
        ))
    };
    let (home_a, home_b, front_home) = (home("a"), home("b"), cluster.front_end());
    let mut command = network.command("a", &program());
    command.args(["--log", "poa_engine_nats=debug,info"]);
    let a = Server::run(&home_a, command).await;
    let front = Server::start(&front_home).await;
    let mut agent = Agent { token: token(&[&front]).await, client: front.client().await, next: 0 };
    let lines = || std::fs::read_to_string(file("lines")).unwrap_or_default();
    let until_lines = async |expected: &str| {
        until(&format!("{expected:?}"), async || (lines() == expected).then_some(())).await;
    };

    std::fs::write(file("hold-a"), "").unwrap();
    agent.until(200).await;
    until_lines("a 0\n").await;
    let b = Server::run(&home_b, network.command("b", &program())).await;
    network.cut("a", &SERVERS);
    std::fs::remove_file(file("hold-a")).unwrap();
    until_lines("a 0\nb 0\n").await;
    until("the other node holds everything", async || {
        (held(&front, "local").await == [4]).then_some(())
    })
    .await;
    for _ in 1..5 {
        agent.until(200).await;
    }
    let taken_over = "a 0\nb 0\nb 1\nb 2\nb 3\nb 4\n";
    until_lines(taken_over).await;
    let log = home_a.log();
    assert!(log.contains("cannot write a cursor now"), "nothing was to be refused: {log}");

    // Whatever comes through now was not expected by the new holder, and is refused: it continues where it was.
    network.heal("a", &SERVERS);
    until("the partitions are shared again", async || {
        (held(&front, "local").await == [2, 2]).then_some(())
    })
    .await;
    b.stop().await;
    agent.until(200).await;
    until_lines(&format!("{taken_over}a 5\n")).await;
    front.stop().await;
    a.stop().await;
}

#[test]
fn a_receiver_node_that_is_cut_off_moves_no_cursor() {
    isolated("partition::a_receiver_node_that_is_cut_off_moves_no_cursor", receiver());
}
