//! The contract of all handlers, for those that need more than their own crate to be spoken to.
//!
//! `poa-auth` is a handler that brings no messages, so of the contract only the end concerns it, which its own tests have.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::path::Path;

use futures_util::{SinkExt as _, StreamExt as _};
use poa_exec::{Config, ExecHandler};
use poa_handler_rest::Rest;
use poa_handler_ws::Ws;
use poa_testkit::{handler_contract, handler_factory};
use poa_tests::{Client, Request};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_websockets::{ClientBuilder, Message};

/// Address and port of the first endpoint.
fn address(endpoints: &[String]) -> &str {
    let endpoint = endpoints.first().and_then(|endpoint| endpoint.split("://").nth(1));
    endpoint.and_then(|endpoint| endpoint.split('/').next()).unwrap_or_default()
}

#[tokio::test]
async fn rest() {
    let config = r#"{"listen": "127.0.0.1:0", "anonymous": true}"#;
    let factory = handler_factory::<Rest>(serde_json::from_str(config).unwrap());
    handler_contract(factory, async |endpoints| {
        let Ok(mut client) = Client::connect(address(endpoints)).await else { return false };
        let body = r#"{"id":"pump-7","type":"system_metrics","data":{"cpu_load":1.5}}"#;
        let answer = client.exchange(&Request::new("POST", "/data").json(body).bytes()).await;
        answer.is_ok_and(|answer| answer.status == 200)
    })
    .await;
}

/// Sends one message over a connection of its own; the answer.
async fn call(endpoints: &[String]) -> Option<String> {
    let stream = TcpStream::connect(address(endpoints)).await.ok()?;
    let client = ClientBuilder::from_uri("ws://poa/ws".parse().ok()?);
    let (mut socket, _) = client.connect_on(stream).await.ok()?;
    let call = r#"{"call":"data","id":"pump-7","type":"system_metrics","data":{"cpu_load":1.5}}"#;
    socket.send(Message::text(call)).await.ok()?;
    socket.next().await?.ok()?.as_text().map(str::to_owned)
}

#[tokio::test]
async fn websocket() {
    let config = r#"{"listen": "127.0.0.1:0", "anonymous": true}"#;
    let factory = handler_factory::<Ws>(serde_json::from_str(config).unwrap());
    handler_contract(factory, async |endpoints| {
        call(endpoints).await.is_some_and(|answer| answer.contains(r#""result":"success""#))
    })
    .await;
}

async fn send_line(endpoints: &[String]) -> std::io::Result<bool> {
    let mut stream = BufReader::new(TcpStream::connect(address(endpoints)).await?);
    stream.write_all(b"pump-7 system_metrics {\"cpu_load\": 1.5}\n").await?;
    let mut answer = String::new();
    stream.read_line(&mut answer).await?;
    Ok(answer == "ok\n")
}

#[tokio::test]
async fn a_child_process_in_python() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/exec/lines.py");
    let script = script.canonicalize().unwrap().display().to_string();
    let config = Config::new(["python3", &script]).option("port", 0);
    let factory = handler_factory::<ExecHandler>(config);
    handler_contract(factory, async |endpoints| send_line(endpoints).await.unwrap_or(false)).await;
}
