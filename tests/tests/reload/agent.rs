//! Agents that send over connections which may, or must not, be closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use poa_tests::{Client, METRICS, Request, Server, soon, until};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_websockets::{ClientBuilder, MaybeTlsStream, Message, WebSocketStream};

/// The time between two messages of an agent. The load is to be steady, not heavy.
const PACE: Duration = Duration::from_millis(10);

/// The protocol that an agent speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Rest,
    WebSocket,
}

/// The messages of an agent.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) agent: String,
    pub(crate) acknowledged: usize,
    pub(crate) reconnected: usize,
    pub(crate) longest: Duration,
}

/// Agents that send until they are told to stop.
#[derive(Default)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    counts: Vec<Arc<AtomicUsize>>,
    agents: JoinSet<Sent>,
}

impl Load {
    /// Adds agents that send to this handler. If it changes, it may close connections; what was not answered then is sent again.
    pub(crate) fn add(
        &mut self,
        server: &Server,
        handler: &str,
        kind: Kind,
        agents: usize,
        changes: bool,
        token: &str,
    ) {
        for nth in 0..agents {
            let count = Arc::new(AtomicUsize::new(0));
            self.counts.push(count.clone());
            let agent = Agent {
                name: format!("{handler}-{nth}"),
                kind,
                address: server.address(handler).to_owned(),
                token: token.to_owned(),
                changes,
                count,
                stop: self.stop.clone(),
            };
            self.agents.spawn(agent.run());
        }
    }

    /// Waits until one more message of every agent is acknowledged.
    pub(crate) async fn moves(&mut self) {
        let before: Vec<_> = self.counts.iter().map(|count| count.load(Relaxed)).collect();
        until("every agent sends", async || {
            if let Some(ended) = self.agents.try_join_next() {
                panic!("an agent has ended: {ended:?}");
            }
            let mut counts = self.counts.iter().zip(&before);
            counts.all(|(count, before)| count.load(Relaxed) > *before).then_some(())
        })
        .await;
    }

    pub(crate) async fn stop(self) -> Vec<Sent> {
        self.stop.store(true, Relaxed);
        soon("the agents stop", self.agents.join_all()).await
    }
}

struct Agent {
    name: String,
    kind: Kind,
    address: String,
    token: String,
    changes: bool,
    count: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Agent {
    /// Sends each message until it is acknowledged.
    async fn run(self) -> Sent {
        let mut sent = Sent {
            agent: self.name.clone(),
            acknowledged: 0,
            reconnected: 0,
            longest: Duration::ZERO,
        };
        let mut connection = self.connect().await;
        while !self.stop.load(Relaxed) {
            let begin = Instant::now();
            while !soon(&self.name, connection.send(&self, sent.acknowledged)).await {
                assert!(
                    self.changes,
                    "{} lost its connection, and its handler did not change",
                    self.name
                );
                sent.reconnected += 1;
                connection = self.connect().await;
            }
            sent.longest = sent.longest.max(begin.elapsed());
            sent.acknowledged += 1;
            self.count.store(sent.acknowledged, Relaxed);
            tokio::time::sleep(PACE).await;
        }
        sent
    }

    /// A connection may be closed before it was of use, but is never refused.
    async fn connect(&self) -> Connection {
        loop {
            match self.kind {
                Kind::Rest => {
                    return Connection::Rest(self.open(Client::connect(&self.address).await));
                }
                Kind::WebSocket => {
                    let host = self.address.split('/').next().unwrap();
                    let stream = self.open(TcpStream::connect(host).await);
                    if let Some(socket) = self.upgrade(stream).await {
                        return Connection::WebSocket(Box::new(socket));
                    }
                }
            }
        }
    }

    fn open<T>(&self, connected: std::io::Result<T>) -> T {
        connected.unwrap_or_else(|error| panic!("{} is refused: {error}", self.name))
    }

    async fn upgrade(&self, stream: TcpStream) -> Option<Socket> {
        let header = format!("Bearer {}", self.token).parse().unwrap();
        let uri = format!("ws://{}", self.address).parse().unwrap();
        let client = ClientBuilder::from_uri(uri);
        let client = client.add_header("authorization".parse().unwrap(), header).unwrap();
        let stream = MaybeTlsStream::Plain(stream);
        Some(client.connect_on(stream).await.ok()?.0)
    }

    fn data(&self, n: usize) -> Value {
        json!({
            "id": self.name, "type": METRICS[n % 3], "data": {"type": "count", "body": {"n": n}},
        })
    }

    /// Names the message, so that it is accepted once however often it is sent.
    fn key(&self, n: usize) -> String {
        format!("{}/{n}", self.name)
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

enum Connection {
    Rest(Client),
    WebSocket(Box<Socket>),
}

impl Connection {
    /// Sends a message; false when the connection ends before the answer. Any answer but success is a refusal.
    async fn send(&mut self, agent: &Agent, n: usize) -> bool {
        match self {
            Self::Rest(client) => {
                let request = Request::post("/data", &agent.token);
                let request = request.header("idempotency-key", &agent.key(n));
                let request = request.json(&agent.data(n).to_string());
                let Ok(answer) = client.exchange(&request.bytes()).await else { return false };
                assert_eq!(answer.status, 200, "{}: {answer:?}", agent.name);
            }
            Self::WebSocket(socket) => {
                let mut call = agent.data(n);
                (call["call"], call["idempotency_key"]) = ("data".into(), agent.key(n).into());
                if socket.send(Message::text(call.to_string())).await.is_err() {
                    return false;
                }
                let Some(Ok(answer)) = socket.next().await else { return false };
                let Some(answer) = answer.as_text() else { return false };
                assert!(answer.contains("\"success\""), "{}: {answer}", agent.name);
            }
        }
        true
    }
}
