//! A server with a dashboard, and agents that speak to it.

use std::time::Duration;

use poa_tests::{Client, Home, METRICS, Request, Server, free_port};
use serde_json::{Value, json};

pub(crate) const SECRET: &str = "correct horse battery";

/// A server with a dashboard on a port that it has again after a restart.
pub(crate) struct Site {
    pub(crate) home: Home,
    pub(crate) server: Server,
    pub(crate) token: String,
}

impl Site {
    pub(crate) async fn start() -> Self {
        Self::with("").await
    }

    /// The same, with this at the top of its configuration.
    pub(crate) async fn with(top: &str) -> Self {
        let port = free_port();
        let home = Home::with(&format!(
            "[handlers.ws]\nkind = \"ws\"\nlisten = \"127.0.0.1:0\"\n\
             [receivers.dashboard]\nkind = \"dashboard\"\nlisten = \"127.0.0.1:{port}\"\n\
             ws_secret = \"{SECRET}\"\nsubscribe = {METRICS:?}\n"
        ));
        let sections = std::fs::read_to_string(home.config()).unwrap();
        std::fs::write(home.config(), top.to_owned() + &sections).unwrap();
        let server = Server::start(&home).await;
        let token = server.login().await;
        Self { home, server, token }
    }

    /// Stops the server.
    pub(crate) async fn stop(self) -> Stopped {
        let Self { home, server, token } = self;
        server.stop().await;
        Stopped { home, token }
    }

    /// The page, with the secret that opens it.
    pub(crate) fn page(&self) -> String {
        format!("{}?secret={}", self.url(), SECRET.replace(' ', "%20"))
    }

    /// The page.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.server.address("dashboard"))
    }

    pub(crate) async fn call(&self, path: &str, body: Value) {
        let request = Request::post(path, &self.token).json(&body.to_string());
        let answer = self.server.ask("rest", &request).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    pub(crate) async fn ping(&self, agent: &str) {
        self.call("/ping", json!({"id": agent})).await;
    }

    pub(crate) async fn bye(&self, agent: &str) {
        self.call("/bye", json!({"id": agent})).await;
    }

    pub(crate) async fn send(&self, agent: &str, data_type: &str, kind: &str, body: Value) {
        let data = json!({"type": kind, "body": body});
        self.call("/data", json!({"id": agent, "type": data_type, "data": data})).await;
    }

    /// An agent that says all that agents say.
    pub(crate) async fn speak(&self, agent: &str) {
        let about = json!({"name": "The node of ".to_owned() + agent, "node": "Parity//v1.10.0", "os": "linux"});
        self.send(agent, "ethereum_metrics", "information", about).await;
        let chain = json!({"active": true, "gasPrice": 1_000_000_000_u64, "hashrate": 0, "mining": false, "peers": 5,
            "syncing": {"currentBlock": "0x44ee0", "highestBlock": "0x44ee2", "startingBlock": "0x40ad3"}, "uptime": 100});
        self.send(agent, "ethereum_metrics", "statistics", chain).await;
        self.send(agent, "ethereum_metrics", "block", json!({"number": 282_336, "timestamp": 1}))
            .await;
        self.send(agent, "networking_metrics", "latency", json!({"latency": 3})).await;
        let load = json!({"cpu_load": 30.4, "disk_usage": 17, "memory_usage": 0.134});
        self.send(agent, "system_metrics", "statistics", load).await;
    }

    /// Pings for an agent until it is dropped.
    pub(crate) fn keep_alive(&self, agent: &str) -> Alive {
        let (address, token) = (self.server.rest().to_owned(), self.token.clone());
        let body = json!({"id": agent}).to_string();
        Alive(tokio::spawn(async move {
            let mut client = Client::connect(&address).await.unwrap();
            loop {
                let ping = Request::post("/ping", &token).json(&body).bytes();
                if client.exchange(&ping).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }))
    }
}

/// A server that can be started again.
pub(crate) struct Stopped {
    home: Home,
    token: String,
}

impl Stopped {
    pub(crate) async fn start(self) -> Site {
        let Self { home, token } = self;
        let server = Server::start(&home).await;
        Site { home, server, token }
    }
}

/// An agent that pings.
pub(crate) struct Alive(tokio::task::JoinHandle<()>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.abort();
    }
}
