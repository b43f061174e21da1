//! The Autobahn test suite against what all WebSocket servers of poa are made of.
//!
//! It wants everything said back, which neither of the servers does, so it gets a service that does.

use std::convert::Infallible;

use futures_util::{SinkExt as _, StreamExt as _};
use hyper::service::service_fn;
use hyper::{Request, Response};
use poa_core::BuildContext;
use poa_http::websocket::{CloseCode, Message, Options, WebSocket, upgrade};
use poa_http::{Body, Limits, Server};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::tool;

/// The suite sends messages of up to 16 MiB.
const MAX_MESSAGE: usize = 32 << 20;

/// Compression, which is not offered.
const NOT_OFFERED: [&str; 2] = ["12.*", "13.*"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_passes() {
    let dir = tempfile::tempdir().unwrap();
    let cx = BuildContext::detached("echo", dir.path());
    let any: std::net::SocketAddr = ([127, 0, 0, 1], 0).into();
    let server = Server::bind(any, None, Limits::default(), &cx).unwrap();
    let specification = json!({
        "outdir": dir.path().join("reports"),
        "servers": [{"agent": "poa", "url": format!("ws://{}", server.local_addr())}],
        "cases": ["*"],
        "exclude-cases": NOT_OFFERED,
        "exclude-agent-cases": {},
    });
    let file = dir.path().join("specification.json");
    std::fs::write(&file, specification.to_string()).unwrap();
    let serving = tokio::spawn(server.serve(service_fn(answer), CancellationToken::new()));

    let mut suite = Command::new(tool("POA_TEST_AUTOBAHN", "the program `wstest`"));
    suite.args(["-m", "fuzzingclient", "-s"]).arg(&file).current_dir(dir.path());
    let output = suite.kill_on_drop(true).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serving.abort();

    let report = std::fs::read_to_string(dir.path().join("reports/index.json")).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    let cases = report["poa"].as_object().unwrap();
    let good = |result: &Value| matches!(result.as_str(), Some("OK" | "INFORMATIONAL"));
    let bad: Vec<_> = cases
        .iter()
        .filter(|(_, case)| !good(&case["behavior"]) || !good(&case["behaviorClose"]))
        .collect();
    println!("{} cases, {} of them not as they should be", cases.len(), bad.len());
    assert!(cases.len() > 290 && bad.is_empty(), "{} cases, of them bad: {bad:?}", cases.len());
}

async fn answer(mut request: Request<Body>) -> Result<Response<String>, Infallible> {
    let options = Options::default().max_message(MAX_MESSAGE);
    Ok(match upgrade(&mut request, &options, echo) {
        Ok(switching) => switching.map(|()| String::new()),
        Err(refused) => refused.answer(),
    })
}

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.next().await {
        if matches!(message, Message::Text(_) | Message::Binary(_))
            && socket.send(message).await.is_err()
        {
            break;
        }
    }
    socket.close_with(CloseCode::NORMAL, "").await;
}
