//! A load with a fixed rate, and the time of each answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use poa_tests::{Client, Request, Server};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// So many agents, and the messages that all of them together send each second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(crate) agents: u32,
    pub(crate) messages: u32,
}

/// Agents that send at the rate, each over a connection of its own, until they are stopped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    begin: Instant,
    tasks: JoinSet<Vec<Duration>>,
}

/// The answers to a load.
pub(crate) struct Answers {
    /// In ascending order. Each counts from the time at which the request was due, so a delay of one is seen in those behind it.
    times: Vec<Duration>,
    pub(crate) per_second: f64,
}

impl Load {
    pub(crate) fn start(server: &Server, rate: Rate, token: &str) -> Self {
        let (stop, begin) = (Arc::new(AtomicBool::new(false)), Instant::now());
        let every = Duration::from_secs(1) * rate.agents / rate.messages;
        let agents = (0..rate.agents).map(|nth| Agent {
            address: server.rest().to_owned(),
            requests: requests(nth, token),
            first: begin + every * nth / rate.agents,
            every,
            stop: stop.clone(),
        });
        Self { tasks: agents.map(Agent::send).collect(), stop, begin }
    }

    /// Stops it; fails when a message was refused.
    pub(crate) async fn stop(self) -> Answers {
        self.stop.store(true, Relaxed);
        let mut times = self.tasks.join_all().await.concat();
        times.sort();
        let per_second = times.len() as f64 / self.begin.elapsed().as_secs_f64();
        Answers { times, per_second }
    }
}

impl Answers {
    pub(crate) fn count(&self) -> usize {
        self.times.len()
    }

    pub(crate) fn p99(&self) -> Duration {
        self.times[self.times.len() * 99 / 100]
    }

    pub(crate) fn worst(&self) -> Duration {
        self.times[self.times.len() - 1]
    }
}

struct Agent {
    address: String,
    requests: Vec<Vec<u8>>,
    first: Instant,
    every: Duration,
    stop: Arc<AtomicBool>,
}

impl Agent {
    async fn send(self) -> Vec<Duration> {
        let mut client = Client::connect(&self.address).await.unwrap();
        let (mut times, mut due) = (Vec::new(), self.first);
        for request in self.requests.iter().cycle() {
            sleep_until(due).await;
            let answer = client.exchange(request).await.unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
            times.push(due.elapsed());
            due += self.every;
            if self.stop.load(Relaxed) {
                break;
            }
        }
        times
    }
}

/// Ten messages of an agent, with the same part for each table as the rows that were there before.
fn requests(nth: u32, token: &str) -> Vec<Vec<u8>> {
    let kinds = [("ethereum_metrics", 2), ("system_metrics", 5), ("networking_metrics", 3)];
    let types = kinds.into_iter().flat_map(|(data_type, count)| [data_type].repeat(count));
    let request = |data_type: &str| {
        let data = match data_type {
            "ethereum_metrics" => json!({"type": "statistics", "body": {
                "active": true, "mining": false, "hashrate": 1000, "peers": 25, "gasPrice": 1_000_000_000}}),
            "system_metrics" => json!({"type": "statistics", "body": {
                "cpu_load": 50.5, "disk_usage": 25.25, "memory_usage": 12.125}}),
            _ => json!({"type": "peers", "body": {"peers": [nth], "text": "0".repeat(120)}}),
        };
        let body = json!({"id": format!("agent-{nth}"), "type": data_type, "data": data});
        Request::post("/data", token).json(&body.to_string()).bytes()
    };
    types.map(request).collect()
}
