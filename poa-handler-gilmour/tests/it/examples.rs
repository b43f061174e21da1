//! The programs of examples/gilmour, as they are.

use std::process::Stdio;

use poa_handler_gilmour::{GilmourReceiver, ReceiverConfig};
use poa_testkit::TestHost;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::support::{Gateway, config, soon};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/gilmour");

/// A program that has registered: its node's id, and the lines it prints.
struct Program {
    child: Child,
    id: String,
    lines: Lines<BufReader<ChildStdout>>,
}

async fn start(interpreter: &str, file: &str, arguments: &[&str]) -> Program {
    let mut command = Command::new(interpreter);
    command.arg(format!("{EXAMPLES}/{file}")).args(arguments).kill_on_drop(true);
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = spawned.unwrap_or_else(|error| {
        panic!("this test needs `{interpreter}`, which cannot be run: {error}; install it")
    });
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = soon(lines.next_line()).await.unwrap().unwrap();
    let id = first.strip_prefix("ready ").unwrap_or_else(|| panic!("{file}: {first}")).to_owned();
    Program { child, id, lines }
}

impl Program {
    /// The end of its standard input ends a program, after it has deleted its node.
    async fn end(mut self, gateway: &Gateway) {
        drop(self.child.stdin.take());
        assert!(soon(self.child.wait()).await.unwrap().success());
        assert_eq!(gateway.get(&format!("/nodes/{}", self.id)).await.0, 404);
    }
}

#[tokio::test]
async fn python_and_javascript_serve_one_composition() {
    let gateway = Gateway::start(config()).await;
    let url = format!("http://{}", gateway.address);
    let mut python = start("python3", "node.py", &[&url]).await;
    let javascript = start("node", "node.mjs", &[&url]).await;
    let pipe = json!({"pipe": [{"requests": {"words": ""}}, {"requests": {"count": ""}}]});
    let asked = json!({"composition": pipe, "message": "a b a"});
    let (status, answer) = gateway.post(&format!("/request/{}", javascript.id), asked).await;
    assert_eq!((status, &answer["messages"][0]["data"]), (200, &json!({"a": 2, "b": 1})));
    assert_eq!(gateway.request(&python.id, "words", json!(1)).await.0, 400);
    let signal = json!({"topic": "log.start", "message": {"version": 3}});
    gateway.post(&format!("/signal/{}", javascript.id), signal).await;
    let printed = soon(python.lines.next_line()).await.unwrap().unwrap();
    assert_eq!(printed, r#"log.start {"version": 3}"#);
    python.end(&gateway).await;
    javascript.end(&gateway).await;
}

#[tokio::test]
async fn a_receiver_in_python_stores_messages_and_rejects_what_it_cannot_store() {
    let gateway = Gateway::start_with(config(), |host| {
        let config = ReceiverConfig::new("store.{data_type}");
        host.receiver::<GilmourReceiver>("lines", TestHost::options(), config)
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("messages.jsonl");
    let url = format!("http://{}", gateway.address);
    let program = start("python3", "receiver.py", &[&url, &file.display().to_string()]).await;
    let draft = |data| gateway.host.draft("pump-7", "system_metrics", &data);
    soon(gateway.host.deliver(draft(json!({"cpu_load": 1.5})))).await.unwrap();
    soon(gateway.host.deliver(draft(json!({"other": 1})))).await.unwrap_err();
    let stored = std::fs::read_to_string(&file).unwrap();
    let stored: Vec<serde_json::Value> =
        stored.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(stored.len(), 1, "{stored:?}");
    assert_eq!(
        (&stored[0]["agent_id"], &stored[0]["data"]["cpu_load"]),
        (&json!("pump-7"), &json!(1.5))
    );
    program.end(&gateway).await;
}
