//! A host with the handler, and clients.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use poa_handler_leviathan::{Config, Networks};
use poa_testkit::{Recording, TestHost, handler_factory};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_websockets::{ClientBuilder, MaybeTlsStream, Message, WebSocketStream};

/// Longer than anything here should ever take.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

pub(crate) fn config(more: &str) -> Config {
    toml::from_str(&format!("listen = \"127.0.0.1:0\"\nexecutor = \"record\"\n{more}")).unwrap()
}

pub(crate) struct Subject {
    pub(crate) host: TestHost,
    pub(crate) recording: Recording,
    address: SocketAddr,
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"]
            .as_str()
            .unwrap_or_else(|| panic!("no code: {self:?}"))
            .to_owned()
    }
}

impl Subject {
    pub(crate) async fn new(more: &str) -> Self {
        Self::with(config(more)).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        let recording = Recording::new();
        let factory = handler_factory::<Networks>(config);
        let receiver = recording.factory();
        let host = TestHost::start(|host| {
            let host = host.handler_from("networks", factory);
            host.receiver_from("recording", TestHost::options(), receiver)
        })
        .await;
        let endpoint = host.status("networks").endpoints.remove(0);
        let address = endpoint.trim_start_matches("http://").parse().unwrap();
        Self { host, recording, address }
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Reply {
        soon(exchange(self.address, method, path, headers, body)).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send("POST", path, &[], &body.to_string()).await
    }

    pub(crate) async fn put(&self, path: &str) -> Reply {
        self.send("PUT", path, &[], "").await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.send("DELETE", path, &[], "").await
    }

    /// Posts and waits for the end.
    pub(crate) async fn done(&self, path: &str, ids: &[&str]) -> Value {
        let reply = self.post(&format!("{path}?wait=true"), &json!(ids)).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()
    }

    pub(crate) async fn watch(&self) -> Watcher {
        self.join(&[]).await.unwrap_or_else(|status| panic!("no upgrade: {status}"))
    }

    /// Opens the monitor; the status if it does not open.
    pub(crate) async fn join(&self, headers: &[(&str, &str)]) -> Result<Watcher, String> {
        self.join_on(TcpStream::connect(self.address).await.unwrap(), headers).await
    }

    /// A client whose machine takes little that it does not read.
    pub(crate) async fn watch_with_little_room(&self) -> Watcher {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let stream = socket.connect(self.address).await.unwrap();
        self.join_on(stream, &[]).await.unwrap_or_else(|status| panic!("no upgrade: {status}"))
    }

    async fn join_on(
        &self,
        stream: TcpStream,
        headers: &[(&str, &str)],
    ) -> Result<Watcher, String> {
        let mut client = ClientBuilder::from_uri("ws://poa/leviathan/monitor".parse().unwrap());
        for (name, value) in headers {
            client = client.add_header(name.parse().unwrap(), value.parse().unwrap()).unwrap();
        }
        let opened = soon(client.connect_on(stream)).await;
        opened.map(|(socket, _)| Watcher(socket)).map_err(|error| error.to_string())
    }
}

pub(crate) async fn exchange(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Reply {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: poa\r\nconnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() || method == "POST" {
        head += &format!("content-length: {}\r\n", body.len());
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    Reply { status, headers, body: body.to_owned() }
}

pub(crate) struct Watcher(pub(crate) WebSocketStream<TcpStream>);

impl Watcher {
    pub(crate) async fn send(&mut self, text: &str) {
        soon(self.0.send(Message::text(text.to_owned()))).await.unwrap();
    }

    pub(crate) async fn next(&mut self) -> Value {
        loop {
            let message = soon(self.0.next()).await.expect("open").unwrap();
            if let Some(text) = message.as_text() {
                return serde_json::from_str(text).unwrap();
            }
            assert!(!message.is_close(), "closed: {message:?}");
        }
    }

    pub(crate) async fn ask(&mut self, request: &Value) -> Value {
        self.send(&request.to_string()).await;
        self.next().await
    }

    /// Nothing comes before the answer to a request that cannot be misunderstood.
    pub(crate) async fn expect_silence(&mut self) {
        let answer = self.ask(&json!({"type": "nothing", "sequence": "silence"})).await;
        assert_eq!(answer["sequence"], "silence", "{answer}");
    }
}

#[allow(dead_code, reason = "names the type of a stream that may be encrypted")]
type AnyStream = MaybeTlsStream<TcpStream>;

pub(crate) fn vectors(kind: &str) -> Vec<Value> {
    let text = include_str!("../fixtures/leviathan_vectors.json");
    let all: Value = serde_json::from_str(text).unwrap();
    let all = all["vectors"].as_array().unwrap().clone();
    let found: Vec<Value> = all.into_iter().filter(|vector| vector["kind"] == kind).collect();
    assert!(!found.is_empty(), "no vector of kind {kind}");
    found
}

/// The documents of the README of the original: the set-up of many vectors.
pub(crate) fn readme() -> Value {
    json!({"cenList": [
        {"cenID": "cen1", "containerIDs": ["c1", "c2", "c13", "c14"]},
        {"cenID": "cen2", "containerIDs": ["c4", "c5", "c6", "c7"]},
        {"cenID": "cen3", "containerIDs": ["c15", "c16", "c9", "c10", "c11"]},
        {"cenID": "cen4", "containerIDs": ["c11", "c12"]},
        {"cenID": "cen5", "containerIDs": ["c2", "c3"]},
    ]})
}
