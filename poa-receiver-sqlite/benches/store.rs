//! Rows per second through `metrics_received`, in batches of 1000, on the disk that holds the temporary directory.
//!
//! Not a criterion bench: every batch changes the database, so an iteration cannot be repeated on the same state.

#![allow(clippy::unwrap_used, reason = "a bench that cannot run must stop")]

use std::time::{Duration, Instant};

use poa_core::{BuildContext, Format, Message, Payload, Plugin, Receiver};
use poa_receiver_sqlite::{Config, Sqlite};
use poa_testkit::Samples;
use serde_json::{Value, json};

const BATCH: usize = 1000;
const BATCHES: usize = 300;
const AGENTS: usize = 100;

/// The data that real agents send.
fn workloads() -> [(&'static str, &'static str, Value); 3] {
    let system = json!({"cpu_load": 30.36418897967415, "disk_usage": 17, "memory_usage": 0.13406623869271939});
    let syncing =
        json!({"currentBlock": "0x44ee0", "highestBlock": "0x44ee2", "startingBlock": "0x40ad3"});
    let eth = json!({"active": true, "gasPrice": 1_000_000_000, "hashrate": 0, "mining": false, "peers": 5,
        "syncing": syncing, "uptime": 100.0});
    [
        ("system_stats", "system_metrics", json!({"type": "statistics", "body": system})),
        ("eth_stats", "ethereum_metrics", json!({"type": "statistics", "body": eth})),
        ("metrics", "networking_metrics", json!({"type": "latency", "body": {"latency": 3}})),
    ]
}

fn payload(format: Format, data: &Value) -> Payload {
    match format {
        Format::MessagePack => Payload::new(format, rmp_serde::to_vec(data).unwrap().into()),
        _ => Payload::json(data).unwrap(),
    }
}

fn batch(samples: &mut Samples, data_type: &str, payload: &Payload) -> Vec<Message> {
    let agent = |n: usize| format!("agent-{}", n % AGENTS);
    (0..BATCH).map(|n| samples.message_of(&agent(n), data_type, payload.clone())).collect()
}

/// The time the receiver took for all batches; creating them is not counted.
async fn run(data_type: &str, payload: &Payload) -> Duration {
    let dir = tempfile::tempdir().unwrap();
    let cx = BuildContext::detached("bench", dir.path());
    let mut receiver = Sqlite::build(Config::default(), &cx).await.unwrap();
    let mut samples = Samples::default();
    let mut busy = Duration::ZERO;
    for _ in 0..BATCHES {
        let batch = batch(&mut samples, data_type, payload);
        let begin = Instant::now();
        receiver.metrics_received(&batch).await.unwrap();
        busy += begin.elapsed();
    }
    let begin = Instant::now();
    receiver.terminate().await;
    busy + begin.elapsed()
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for (table, data_type, data) in workloads() {
        for format in [Format::Json, Format::MessagePack] {
            let payload = payload(format, &data);
            let busy = runtime.block_on(run(data_type, &payload)).as_secs_f64();
            let rows = (BATCH * BATCHES) as f64;
            println!("{table:<12} {format:?}: {:.0} rows/s", rows / busy);
        }
    }
}
