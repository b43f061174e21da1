//! A host with a REST handler, a receiver that forwards to the test, and a client that sends raw
//! bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use poa_core::auth::{AuthError, Authenticator, Principal};
use poa_core::{
    Ack, AgentId, DeliveryError, Host, HostBuilder, Message, Receiver, ReceiverFactory,
    ReceiverOptions, WhenFull, async_trait,
};
use poa_handler_rest::{Config, Rest};
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

pub(crate) const METRICS: [&str; 3] = ["ethereum_metrics", "networking_metrics", "system_metrics"];

/// Longer than any operation here should ever take.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

/// Knows a few tokens by their names.
struct Tokens;

#[async_trait]
impl Authenticator for Tokens {
    fn verify(&self, token: &str) -> Result<Principal, AuthError> {
        match token {
            "valid" => Ok(Principal::new("alice", None)),
            "bound" => Ok(Principal::new("bob", Some(AgentId::new("agent1").unwrap()))),
            "expired" => Err(AuthError::Expired),
            "busy" => Err(AuthError::Busy),
            "unavailable" => Err(AuthError::Unavailable("disk on fire".into())),
            "panic" => panic!("as told"),
            _ => Err(AuthError::Unauthorized),
        }
    }

    async fn login(&self, _: &str, _: &str) -> Result<String, AuthError> {
        Err(AuthError::Unauthorized)
    }

    fn revocations(&self) -> watch::Receiver<u64> {
        watch::channel(0).1
    }
}

/// The events that a receiver got.
#[derive(Debug)]
pub(crate) enum Heard {
    Message(Message),
    Activity(String, bool),
}

/// Forwards its events to the test; delivers nothing while the gate is closed.
struct Recorder {
    heard: mpsc::UnboundedSender<Heard>,
    open: watch::Receiver<bool>,
}

impl Recorder {
    fn tell(&self, heard: Heard) {
        // A test that has seen enough no longer receives.
        let _ = self.heard.send(heard);
    }
}

#[async_trait]
impl Receiver for Recorder {
    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        self.open.wait_for(|open| *open).await.unwrap();
        for message in batch {
            self.tell(Heard::Message(message.clone()));
        }
        Ok(())
    }

    async fn handle_inactive(
        &mut self,
        agents: &[poa_core::Activity],
    ) -> Result<(), DeliveryError> {
        for agent in agents {
            self.tell(Heard::Activity(agent.agent_id.to_string(), false));
        }
        Ok(())
    }

    async fn handle_active(&mut self, agents: &[poa_core::Activity]) -> Result<(), DeliveryError> {
        for agent in agents {
            self.tell(Heard::Activity(agent.agent_id.to_string(), true));
        }
        Ok(())
    }
}

pub(crate) struct Running {
    pub(crate) host: Host,
    pub(crate) addr: SocketAddr,
    pub(crate) open: watch::Sender<bool>,
    pub(crate) dir: tempfile::TempDir,
    heard: mpsc::UnboundedReceiver<Heard>,
}

pub(crate) fn any_port() -> Config {
    Config::listen(([127, 0, 0, 1], 0))
}

pub(crate) async fn start() -> Running {
    start_with(any_port(), |host| host, 64 << 20).await
}

/// A host whose only receiver has a backlog of at most this many bytes.
pub(crate) async fn start_with(
    config: Config,
    change: impl FnOnce(HostBuilder) -> HostBuilder,
    backlog: u64,
) -> Running {
    let dir = tempfile::tempdir().unwrap();
    let (told, heard) = mpsc::unbounded_channel();
    let (open, is_open) = watch::channel(true);
    let options = ReceiverOptions::subscribe(METRICS)
        .batch(100, Duration::from_millis(1))
        .backlog(backlog, WhenFull::Refuse);
    let host = Host::builder()
        .engine::<poa_engine_local::Memory>("memory", Default::default())
        .data_types(METRICS)
        .data_dir(dir.path())
        .ack(Ack::Memory)
        .authenticator(Arc::new(Tokens))
        .handler::<Rest>("rest", config)
        .receiver_from("recorder", options, recorders(told, is_open));
    let host = change(host).start().await.unwrap();
    let status = host.handle().status();
    let endpoint = &status.plugins[0].endpoints[0];
    let addr = endpoint.split_once("//").unwrap().1.parse().unwrap();
    Running { host, addr, open, dir, heard }
}

impl Running {
    pub(crate) async fn client(&self) -> Client {
        Client::new(TcpStream::connect(self.addr).await.unwrap())
    }

    pub(crate) async fn hear(&mut self) -> Heard {
        soon(self.heard.recv()).await.unwrap()
    }

    /// The next message; changes of activity are skipped.
    pub(crate) async fn message(&mut self) -> Message {
        loop {
            if let Heard::Message(message) = self.hear().await {
                return message;
            }
        }
    }

    pub(crate) fn counts(&self, line: &str) -> bool {
        self.host.handle().metrics().lines().any(|found| found == line)
    }
}

pub(crate) struct Client<S = TcpStream>(BufReader<S>);

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn has(&self, header: &str) -> bool {
        self.head.lines().any(|line| line.eq_ignore_ascii_case(header))
    }

    /// The value of `error` in the body.
    pub(crate) fn code(&self) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        body["error"].as_str().unwrap().to_owned()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self(BufReader::new(stream))
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.0.write_all(bytes.as_ref())).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// Sends JSON with a valid token.
    pub(crate) async fn post(&mut self, path: &str, body: &str) -> Answer {
        self.post_as("valid", path, body).await
    }

    pub(crate) async fn post_as(&mut self, token: &str, path: &str, body: &str) -> Answer {
        self.send(request(token, path, "application/json", body.as_bytes())).await;
        self.answer().await
    }

    pub(crate) async fn answer(&mut self) -> Answer {
        self.answer_with_body(true).await
    }

    pub(crate) async fn answer_with_body(&mut self, has_body: bool) -> Answer {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = soon(self.0.read_line(&mut head)).await.unwrap();
            assert_ne!(read, 0, "the connection ended in a head: {head:?}");
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.filter(|_| has_body).map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        soon(self.0.read_exact(&mut body)).await.unwrap();
        Answer { status, head, body: String::from_utf8(body).unwrap() }
    }

    /// Waits until the server closes the connection; returns what it sent before.
    pub(crate) async fn end(&mut self) -> String {
        let mut rest = Vec::new();
        soon(self.0.read_to_end(&mut rest)).await.unwrap();
        String::from_utf8(rest).unwrap()
    }
}

pub(crate) fn request(token: &str, path: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
         content-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// A `data` call with this payload.
pub(crate) fn metric(agent: &str, data: &str) -> String {
    format!(r#"{{"id":"{agent}","type":"system_metrics","data":{data}}}"#)
}

fn recorders(heard: mpsc::UnboundedSender<Heard>, open: watch::Receiver<bool>) -> ReceiverFactory {
    Arc::new(move |_| {
        let recorder = Recorder { heard: heard.clone(), open: open.clone() };
        Box::pin(async { Ok(Box::new(recorder) as Box<dyn Receiver>) })
    })
}
