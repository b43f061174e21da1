//! A host with a gateway, nodes that do what a test wants, and a client.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use parking_lot::Mutex;
use poa_core::HostBuilder;
use poa_handler_gilmour::{Config, GilmourGateway};
use poa_testkit::{Recording, TestHost};
use serde_json::{Value, json};
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::task::JoinHandle;

/// Longer than anything here should ever take.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

/// A host with a gateway named `gilmour`, and a receiver that remembers.
pub(crate) struct Gateway {
    pub(crate) host: TestHost,
    pub(crate) address: String,
    pub(crate) recording: Recording,
}

/// A configuration whose nodes are asked often.
pub(crate) fn config() -> Config {
    read("health_interval = \"100ms\"\nhealth_timeout = \"5s\"")
}

/// A configuration on any port.
pub(crate) fn read(text: &str) -> Config {
    toml::from_str(&format!("listen = \"127.0.0.1:0\"\n{text}")).unwrap()
}

impl Gateway {
    pub(crate) async fn start(config: Config) -> Self {
        Self::start_with(config, |host| host).await
    }

    pub(crate) async fn start_with(
        config: Config,
        more: impl FnOnce(HostBuilder) -> HostBuilder,
    ) -> Self {
        let recording = Recording::new();
        let host = TestHost::start(|host| {
            let host = host.handler::<GilmourGateway>("gilmour", config);
            more(host.receiver_from("seen", TestHost::options(), recording.factory()))
        })
        .await;
        let address = host.status("gilmour").endpoints[0].trim_start_matches("http://").to_owned();
        Self { host, address, recording }
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        ask(&self.address, method, path, &[], &body.to_string()).await
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        ask(&self.address, "GET", path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.ask("POST", path, &body).await
    }

    /// Registers a node; its id.
    pub(crate) async fn register(&self, body: Value) -> String {
        let (status, answer) = self.post("/nodes", body).await;
        assert_eq!(status, 201, "{answer}");
        assert_eq!(answer["status"], "ok");
        answer["id"].as_str().unwrap().to_owned()
    }

    /// A request of a topic by this node.
    pub(crate) async fn request(&self, id: &str, topic: &str, message: Value) -> (u16, Value) {
        self.post(&format!("/request/{id}"), json!({"topic": topic, "message": message})).await
    }

    /// Waits until a node is in this state.
    pub(crate) async fn until(&self, id: &str, status: &str) -> Value {
        soon(async {
            loop {
                let (_, details) = self.get(&format!("/nodes/{id}")).await;
                if details["status"] == status {
                    return details;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
    }
}

/// Sends one request; the status and the body, as a string where it is not JSON.
pub(crate) async fn ask(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, Value) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("content-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    soon(stream.read_to_end(&mut answer)).await.unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap_or("0").parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_else(|_| json!(body)))
}

/// The reaction of a node to a call.
pub(crate) enum Does {
    /// Answers with this status and body.
    Answer(u16, Value),
    /// Writes these bytes, and closes.
    Write(Vec<u8>),
    /// Waits for the other side to close, then writes until that fails, and is counted.
    Hang,
    /// Closes without a word.
    Close,
}

type Behaviour = dyn Fn(&str, Value) -> Does + Send + Sync;

/// A program that a test plays. It is gone when this is dropped.
pub(crate) struct Node {
    pub(crate) port: u16,
    pub(crate) health: Arc<AtomicU16>,
    pub(crate) calls: Arc<Mutex<Vec<(String, Value)>>>,
    /// Calls that hung until the gateway closed the connection, and whose late answer could not be written.
    pub(crate) closed: Arc<AtomicUsize>,
    pub(crate) checks: Arc<AtomicUsize>,
    tasks: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

#[derive(Clone)]
struct Shared {
    health: Arc<AtomicU16>,
    calls: Arc<Mutex<Vec<(String, Value)>>>,
    closed: Arc<AtomicUsize>,
    checks: Arc<AtomicUsize>,
    does: Arc<Behaviour>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.tasks.lock().iter().for_each(JoinHandle::abort);
    }
}

/// Answers with what it was called with.
pub(crate) fn echo(_: &str, call: Value) -> Does {
    Does::Answer(200, call["data"].clone())
}

impl Node {
    pub(crate) async fn start(does: impl Fn(&str, Value) -> Does + Send + Sync + 'static) -> Self {
        Self::start_at(0, does).await
    }

    pub(crate) async fn start_at(
        port: u16,
        does: impl Fn(&str, Value) -> Does + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let node = Self::new(listener.local_addr().unwrap().port());
        let (shared, tasks) = (node.shared(does), node.tasks.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let task = tokio::spawn(serve(stream, shared.clone()));
                tasks.lock().push(task);
            }
        });
        node.tasks.lock().push(accepting);
        node
    }

    pub(crate) fn start_unix(
        path: &Path,
        does: impl Fn(&str, Value) -> Does + Send + Sync + 'static,
    ) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let node = Self::new(0);
        let (shared, tasks) = (node.shared(does), node.tasks.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let task = tokio::spawn(serve(stream, shared.clone()));
                tasks.lock().push(task);
            }
        });
        node.tasks.lock().push(accepting);
        node
    }

    fn new(port: u16) -> Self {
        Self {
            port,
            health: Arc::new(AtomicU16::new(200)),
            calls: Arc::default(),
            closed: Arc::default(),
            checks: Arc::default(),
            tasks: Arc::default(),
        }
    }

    fn shared(&self, does: impl Fn(&str, Value) -> Does + Send + Sync + 'static) -> Shared {
        Shared {
            health: self.health.clone(),
            calls: self.calls.clone(),
            closed: self.closed.clone(),
            checks: self.checks.clone(),
            does: Arc::new(does),
        }
    }

    /// A registration of this node with services, each at the path of its name.
    pub(crate) fn serving(&self, topics: &[&str]) -> Value {
        let service = |topic: &&str| json!({"topic": topic, "path": topic, "timeout": 5});
        json!({"port": self.port, "services": topics.iter().map(service).collect::<Vec<_>>()})
    }

    pub(crate) fn calls(&self) -> Vec<(String, Value)> {
        self.calls.lock().clone()
    }

    /// Ends it, and waits until its port is free.
    pub(crate) async fn stop(self) -> u16 {
        let port = self.port;
        let tasks = std::mem::take(&mut *self.tasks.lock());
        for task in tasks {
            task.abort();
            let _ = task.await;
        }
        port
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(stream: S, shared: Shared) {
    let mut stream = BufReader::new(stream);
    loop {
        let Some((head, body)) = read_request(&mut stream).await else { return };
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap().to_owned());
        let does = if method == "GET" {
            shared.checks.fetch_add(1, SeqCst);
            match shared.health.load(SeqCst) {
                0 => Does::Close,
                status => Does::Answer(status, json!("OK")),
            }
        } else {
            let call: Value = serde_json::from_slice(&body).unwrap();
            shared.calls.lock().push((path.clone(), call.clone()));
            (shared.does)(&path, call)
        };
        match does {
            Does::Answer(status, body) => {
                let body = body.to_string();
                let answer =
                    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
            Does::Write(bytes) => {
                let _ = stream.write_all(&bytes).await;
                return;
            }
            Does::Hang => {
                if stream.read(&mut [0; 1]).await.unwrap_or(0) == 0 {
                    while stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.is_ok() {
                        tokio::task::yield_now().await;
                    }
                    shared.closed.fetch_add(1, SeqCst);
                }
                return;
            }
            Does::Close => return,
        }
    }
}

async fn read_request<S: AsyncRead + Unpin>(
    stream: &mut BufReader<S>,
) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let length = head
        .lines()
        .find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, body))
}
