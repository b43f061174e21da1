//! A WebSocket handler that answers by a script and remembers what it was asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt as _, StreamExt as _};
use poa_agent::Config;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_websockets::{CloseCode, Message, ServerBuilder, WebSocketStream};

use super::FakeServer;

/// One call as it came in.
#[derive(Debug, Clone)]
pub struct SocketCall {
    /// The number of the connection, from 0.
    pub connection: usize,
    /// The `Authorization` of the upgrade.
    pub authorization: String,
    pub body: Value,
}

impl SocketCall {
    pub fn name(&self) -> &str {
        self.body["call"].as_str().unwrap()
    }

    pub fn key(&self) -> &str {
        self.body["idempotency_key"].as_str().unwrap()
    }

    /// The number that [`Counter`](super::Counter) put into the metric.
    pub fn number(&self) -> Option<u64> {
        self.body["data"]["body"]["n"].as_u64()
    }
}

/// The action of a script.
pub enum SocketAct {
    /// As a healthy server would.
    Succeed,
    /// The payload of an error.
    Refuse(Value),
    /// Take it, and never answer.
    Ignore,
    Close(u16, &'static str),
    /// Cut the connection without a word.
    HangUp,
}

type Script = Box<dyn FnMut(&SocketCall) -> SocketAct + Send>;

/// Says whether the `n`-th upgrade with this `Authorization` is let in, else with which status it is refused.
type Gate = Box<dyn FnMut(&str, usize) -> Result<(), u16> + Send>;

#[derive(Clone)]
pub struct FakeSocket {
    address: SocketAddr,
    /// The source of tokens.
    pub auth: FakeServer,
    calls: Arc<watch::Sender<Vec<SocketCall>>>,
    gate: Arc<Mutex<Gate>>,
    script: Arc<Mutex<Script>>,
}

impl FakeSocket {
    /// Accepts every client.
    pub async fn start(script: impl FnMut(&SocketCall) -> SocketAct + Send + 'static) -> Self {
        Self::gated(|_, _| Ok(()), script).await
    }

    pub async fn gated(
        gate: impl FnMut(&str, usize) -> Result<(), u16> + Send + 'static,
        script: impl FnMut(&SocketCall) -> SocketAct + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            auth: FakeServer::start(super::all_well).await,
            calls: Arc::new(watch::Sender::new(Vec::new())),
            gate: Arc::new(Mutex::new(Box::new(gate))),
            script: Arc::new(Mutex::new(Box::new(script))),
        };
        tokio::spawn(server.clone().accept(listener));
        server
    }

    /// A config with waits short enough for a test.
    pub fn config(&self) -> Config {
        let mut config = self.auth.config();
        config.server = format!("ws://{}/ws", self.address).parse().unwrap();
        config
    }

    pub fn calls(&self) -> Vec<SocketCall> {
        self.calls.borrow().clone()
    }

    /// The numbers of the counter's metrics in the order of arrival.
    pub fn numbers(&self) -> Vec<u64> {
        self.calls().iter().filter_map(SocketCall::number).collect()
    }

    /// Waits until the counter's metric with this number has come.
    pub async fn wait_for_number(&self, number: u64) {
        self.wait_for(|calls| calls.iter().any(|call| call.number() == Some(number))).await;
    }

    pub async fn wait_for(&self, enough: impl Fn(&[SocketCall]) -> bool) {
        self.calls.subscribe().wait_for(|calls| enough(calls)).await.unwrap();
    }

    async fn accept(self, listener: TcpListener) {
        for connection in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(self.clone().welcome(stream, connection));
        }
    }

    async fn welcome(self, mut stream: TcpStream, connection: usize) {
        let authorization = authorization(&stream).await;
        let let_in = (self.gate.lock().unwrap())(&authorization, connection);
        if let Err(status) = let_in {
            let answer = format!("HTTP/1.1 {status} no\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            return;
        }
        let (_, socket) = ServerBuilder::new().accept(stream).await.unwrap();
        self.serve(socket, connection, authorization).await;
    }

    async fn serve(
        self,
        mut socket: WebSocketStream<TcpStream>,
        connection: usize,
        authorization: String,
    ) {
        while let Some(Ok(message)) = socket.next().await {
            if !message.is_binary() {
                continue;
            }
            let body: Value = rmp_serde::from_slice(message.as_payload()).unwrap();
            let reference = body["ref"].clone();
            let call = SocketCall { connection, authorization: authorization.clone(), body };
            let act = (self.script.lock().unwrap())(&call);
            self.calls.send_modify(|calls| calls.push(call));
            let answer = match act {
                SocketAct::Succeed => json!({"result": "success", "ref": reference, "payload": {}}),
                SocketAct::Refuse(payload) => {
                    json!({"result": "error", "ref": reference, "payload": payload})
                }
                SocketAct::Ignore => continue,
                SocketAct::HangUp => return,
                SocketAct::Close(code, reason) => {
                    let code = CloseCode::try_from(code).unwrap();
                    socket.send(Message::close(Some(code), reason)).await.unwrap();
                    continue;
                }
            };
            let answer = rmp_serde::to_vec_named(&answer).unwrap();
            if socket.send(Message::binary(answer)).await.is_err() {
                return;
            }
        }
    }
}

/// Looks at the head of the request and leaves it there.
async fn authorization(stream: &TcpStream) -> String {
    let mut head = [0; 4096];
    loop {
        let length = stream.peek(&mut head).await.unwrap();
        let text = String::from_utf8_lossy(&head[..length]);
        if text.contains("\r\n\r\n") {
            let value = text.lines().find_map(|line| line.strip_prefix("authorization: "));
            return value.unwrap_or_default().to_owned();
        }
        stream.readable().await.unwrap();
        tokio::task::yield_now().await;
    }
}
