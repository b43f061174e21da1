//! Agents that send for as long as a test lets them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use serde_json::json;
use tokio::task::JoinSet;

use crate::{Client, METRICS, Request, Server};

/// Agents that send to the REST handler, each message after the answer to the one before, all of them over one connection each.
#[derive(Debug)]
pub struct Agents {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<usize>,
}

impl Agents {
    /// Starts so many, named `agent-0` and so on. Their messages are rows of `metrics` with the number `n` in the body.
    #[must_use]
    pub fn start(server: &Server, count: usize, token: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let agents = (0..count)
            .map(|agent| send(agent, server.rest().to_owned(), token.to_owned(), stop.clone()));
        Self { tasks: agents.collect(), stop }
    }

    /// Stops them; how many messages were acknowledged.
    ///
    /// # Panics
    /// When a message was refused or a connection was lost.
    pub async fn stop(self) -> usize {
        self.stop.store(true, Relaxed);
        self.tasks.join_all().await.into_iter().sum()
    }
}

/// Sends messages, each after the answer to the one before; how many were acknowledged.
async fn send(agent: usize, address: String, token: String, stop: Arc<AtomicBool>) -> usize {
    let mut client = Client::connect(&address).await.unwrap();
    let mut acknowledged = 0;
    while !stop.load(Relaxed) {
        let body = json!({
            "id": format!("agent-{agent}"), "type": METRICS[acknowledged % 3],
            "data": {"type": "count", "body": {"n": acknowledged}},
        });
        let request = Request::post("/data", &token).json(&body.to_string());
        let answer = client.exchange(&request.bytes()).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        acknowledged += 1;
    }
    acknowledged
}
