//! A dashboard without a host, and clients of its feed.

use std::hash::{BuildHasher as _, RandomState};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use poa_core::{
    Activity, AgentId, BuildContext, BuildError, Message, Plugin as _, Receiver as _,
    ReceiverContext, Timestamp,
};
use poa_receiver_dashboard::{Config, Dashboard};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_websockets::{ClientBuilder, Message as Frame, WebSocketStream};

pub(crate) const SECRET: &str = "wssecret";

/// Longer than anything should take.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(outcome) => outcome,
        Err(_) => panic!("{what}: not within {PATIENCE:?}"),
    }
}

pub(crate) fn config() -> Config {
    Config::listen(([127, 0, 0, 1], 0)).secret(SECRET)
}

pub(crate) async fn build(config: Config, dir: &Path) -> Result<Dashboard, BuildError> {
    let cx = BuildContext::detached("dashboard", dir);
    let mut dashboard = Dashboard::build(config, &cx).await?;
    start(&mut dashboard, &cx).await;
    Ok(dashboard)
}

/// Starts it as a host does.
pub(crate) async fn start(dashboard: &mut Dashboard, cx: &BuildContext) {
    dashboard.start(ReceiverContext::detached(cx)).await.unwrap();
}

/// A dashboard with a directory of its own.
pub(crate) struct Subject {
    pub(crate) receiver: Dashboard,
    pub(crate) address: SocketAddr,
    pub(crate) dir: tempfile::TempDir,
}

impl Subject {
    pub(crate) async fn new() -> Self {
        Self::with(config()).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let receiver = build(config, dir.path()).await.unwrap();
        let address = address(&receiver);
        Self { receiver, address, dir }
    }

    pub(crate) async fn show(&mut self, message: Message) {
        self.receiver.metrics_received(&[message]).await.unwrap();
    }

    pub(crate) async fn inactive(&mut self, agent: &str) {
        let agent = AgentId::new(agent).unwrap();
        let gone = Activity::new(agent, false, Timestamp::now());
        self.receiver.handle_inactive(&[gone]).await.unwrap();
    }

    /// Sends a request without a body; status and whole answer.
    pub(crate) async fn ask(&self, line: &str, headers: &[(&str, &str)]) -> (u16, String) {
        self.send(line, headers, "").await
    }

    pub(crate) async fn send(
        &self,
        line: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let length = body.len().to_string();
        let mut all = vec![("connection", "close"), ("content-length", &*length)];
        all.extend(headers.iter().filter(|(name, _)| *name != "connection"));
        stream.write_all(head(line, &all).as_bytes()).await.unwrap();
        stream.write_all(body.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        soon("an answer", stream.read_to_end(&mut answer)).await.unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        (answer[9..12].parse().unwrap(), answer)
    }

    /// Joins the feed; the status when that is refused.
    pub(crate) async fn join(&self, url: &str, headers: &[(&str, &str)]) -> Result<Client, u16> {
        let stream = self.connect(url, headers).await?;
        Ok(Client(ClientBuilder::new().take_over(stream)))
    }

    /// The same, and knows nothing of frames.
    pub(crate) async fn connect(
        &self,
        url: &str,
        headers: &[(&str, &str)],
    ) -> Result<TcpStream, u16> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let mut all = HANDSHAKE.to_vec();
        all.extend(headers);
        stream.write_all(head(&format!("GET {url}"), &all).as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(soon("an answer", stream.read_u8()).await.unwrap());
        }
        let status = std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap();
        if status == 101 { Ok(stream) } else { Err(status) }
    }

    /// Joins the feed with the secret.
    pub(crate) async fn client(&self) -> Client {
        self.join("/ws", &[("wssecret", SECRET)]).await.unwrap()
    }
}

const HANDSHAKE: [(&str, &str); 4] = [
    ("connection", "upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

fn head(line: &str, headers: &[(&str, &str)]) -> String {
    let headers = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
    format!("{line} HTTP/1.1\r\nhost: dash:8181\r\n{}\r\n", headers.collect::<String>())
}

/// A free port. Not one that the system gives to others by itself, so that it is still free when it is used.
pub(crate) fn free_port() -> SocketAddr {
    let address = || {
        let random = RandomState::new().hash_one("port");
        SocketAddr::from(([127, 0, 0, 1], 10_000 + (random % 22_000) as u16))
    };
    let is_free = |address: &SocketAddr| std::net::TcpListener::bind(address).is_ok();
    std::iter::repeat_with(address).find(is_free).unwrap()
}

pub(crate) fn address(receiver: &Dashboard) -> SocketAddr {
    receiver.endpoints()[0].strip_prefix("http://").unwrap().parse().unwrap()
}

/// A client of the feed.
pub(crate) struct Client(WebSocketStream<TcpStream>);

impl Client {
    /// The next text; `None` when the server has closed.
    pub(crate) async fn next(&mut self) -> Option<String> {
        loop {
            let frame = soon("a frame", self.0.next()).await?.unwrap();
            if frame.is_close() {
                return None;
            }
            if let Some(text) = frame.as_text() {
                return Some(text.to_owned());
            }
        }
    }

    pub(crate) async fn json(&mut self) -> Value {
        serde_json::from_str(&self.next().await.unwrap()).unwrap()
    }

    /// The code the server closes with.
    pub(crate) async fn close_code(&mut self) -> u16 {
        loop {
            let frame = soon("a close frame", self.0.next()).await.unwrap().unwrap();
            if let Some((code, _)) = frame.as_close() {
                return code.into();
            }
        }
    }

    pub(crate) async fn say(&mut self, text: &str) {
        self.0.send(Frame::text(text.to_owned())).await.unwrap();
    }
}
