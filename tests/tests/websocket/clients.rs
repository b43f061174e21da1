//! Every call, in both formats, by the WebSocket packages that people use.

use std::path::Path;

use poa_tests::{Home, Server, database, numbers, soon, sqlite};
use tokio::process::Command;

use crate::tool;

/// Data calls in each format: the first by itself, and then a thousand at once.
const CALLS: usize = 1001;

/// Runs a client against a server, and looks whether all that was answered with success is stored, in its order.
async fn speaks_every_call(mut client: Command, agents: [&str; 2]) {
    let ws = "[handlers.ws]\nkind = \"ws\"\nlisten = \"127.0.0.1:0\"\n";
    let home = Home::with(&(sqlite("local", "metrics.db", "") + ws));
    let server = Server::start(&home).await;
    let token = server.login().await;
    let url = format!("ws://{}", server.address("ws"));
    client.args([&url, &token, "agent-user", "agent-password", &CALLS.to_string()]);
    let output = soon("the client ends", client.kill_on_drop(true).output()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.trim(), (2 * CALLS).to_string());
    server.drained("local").await;
    let database = database(&home.data("metrics.db"));
    for agent in agents {
        assert!(numbers(&database, agent).into_iter().eq(0..CALLS), "{agent}");
    }
    server.stop().await;
}

fn script(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name)
}

#[tokio::test]
async fn websockets_for_python() {
    let what = "a Python that has `websockets` and `msgpack`";
    let mut client = Command::new(tool("POA_TEST_WS_PYTHON", what));
    client.arg(script("ws_client.py"));
    speaks_every_call(client, ["python-json", "python-msgpack"]).await;
}

#[tokio::test]
async fn ws_for_node() {
    let what = "a `node_modules` that has `ws` and `@msgpack/msgpack`";
    let mut client = Command::new("node");
    client.env("NODE_PATH", tool("POA_TEST_WS_NODE_MODULES", what)).arg(script("ws_client.cjs"));
    speaks_every_call(client, ["node-json", "node-msgpack"]).await;
}
