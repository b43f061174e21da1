//! A thousand nodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use poa_core::Host;
use poa_handler_gilmour::GilmourGateway;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{ask, read, soon};

const NODES: usize = 1000;
const PERIOD: Duration = Duration::from_secs(4);
/// How many nodes a gateway asks at once.
const AT_ONCE: usize = 32;

/// One program that plays all nodes: it answers after a moment, and remembers when it was asked.
#[derive(Clone, Default)]
struct Program {
    asked: Arc<Mutex<Vec<Instant>>>,
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Program {
    async fn start(&self) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let program = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(program.clone().answer(stream));
            }
        });
        port
    }

    async fn answer(self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
        }
        self.asked.lock().push(Instant::now());
        self.most.fetch_max(self.now.fetch_add(1, SeqCst) + 1, SeqCst);
        tokio::time::sleep(Duration::from_millis(2)).await;
        self.now.fetch_sub(1, SeqCst);
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        let _ = stream.write_all(answer.as_bytes()).await;
    }

    async fn until_asked(&self, times: usize) {
        soon(async {
            while self.asked.lock().len() < times {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }
}

async fn start(directory: &std::path::Path) -> (Host, String) {
    let config = read(&format!("health_interval = \"{}s\"", PERIOD.as_secs()));
    let host = Host::builder()
        .engine::<poa_engine_local::Memory>("memory", Default::default())
        .data_dir(directory)
        .data_types(["system_metrics"])
        .handler::<GilmourGateway>("gilmour", config);
    let host = host.start().await.unwrap();
    let status = host.handle().status();
    let address = status.plugins[0].endpoints[0].trim_start_matches("http://").to_owned();
    (host, address)
}

fn registration(port: u16, number: usize) -> Value {
    let service = |n: usize| json!({"topic": format!("t{number}.{n}"), "path": "/"});
    json!({"port": port, "name": format!("node-{number}"), "services": (0..10).map(service).collect::<Vec<_>>()})
}

/// How unevenly checks are spread: the share of a tenth of a period that has the most of them.
fn worst_tenth(asked: &[Instant], begin: Instant) -> f64 {
    let mut tenths = [0_usize; 10];
    let tenth = PERIOD / 10;
    for at in asked {
        let since = at.saturating_duration_since(begin);
        let place = (since.as_millis() / tenth.as_millis()) as usize;
        tenths[place.min(9)] += 1;
    }
    *tenths.iter().max().unwrap() as f64 / asked.len() as f64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_nodes_are_asked_evenly_and_few_at_once_also_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let program = Program::default();
    let port = program.start().await;
    let (host, address) = start(directory.path()).await;
    for begin in (0..NODES).step_by(20) {
        let registering = (begin..begin + 20).map(|number| {
            let (address, body) = (address.clone(), registration(port, number).to_string());
            tokio::spawn(async move { ask(&address, "POST", "/nodes", &[], &body).await.0 })
        });
        for registered in registering.collect::<Vec<_>>() {
            assert_eq!(registered.await.unwrap(), 201);
        }
    }
    assert!(host.stop().await.is_clean());

    program.asked.lock().clear();
    let (host, address) = start(directory.path()).await;
    program.until_asked(NODES).await;
    let (_, list) = ask(&address, "GET", "/nodes", &[], "").await;
    assert_eq!(list["nodes"].as_array().unwrap().len(), NODES);
    // From now on each has its own schedule: in one period all are asked, in no tenth of it too many.
    tokio::time::sleep(PERIOD).await;
    program.asked.lock().clear();
    let begin = Instant::now();
    tokio::time::sleep(PERIOD).await;
    let asked: Vec<Instant> = program.asked.lock().clone();
    assert!(asked.len() > NODES * 8 / 10 && asked.len() < NODES * 12 / 10, "{}", asked.len());
    let worst = worst_tenth(&asked, begin);
    assert!(worst < 0.25, "{worst}");
    assert!(program.most.load(SeqCst) <= AT_ONCE, "{:?}", program.most);
    assert!(host.stop().await.is_clean());
}
