//! The memory of registered nodes.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Failure;
use crate::bundled::Bundled;
use crate::process::{Server, resident_of, scratch};
use crate::report::table;

const NODES: usize = 1000;
const SERVICES: usize = 10;
/// Until the allocator has settled.
const SETTLE: Duration = Duration::from_secs(2);

/// Writes the configuration of a server with a gateway, and the receiver that every server needs.
pub(super) fn configure(dir: &Path, engine: &str) -> Result<(), Failure> {
    let config = format!(
        "data_dir = \"data\"\nmetrics = [\"system_metrics\"]\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [handlers.gilmour]\nkind = \"gilmour\"\nlisten = \"127.0.0.1:0\"\n{engine}\n\
         [receivers.local]\nkind = \"sqlite\"\npath = \"metrics.db\"\nsubscribe = [\"system_metrics\"]\n"
    );
    Ok(std::fs::write(dir.join("poa.toml"), config)?)
}

/// The registration of a node at this address with services of these topics.
pub(super) fn body(address: &str, name: &str, topics: &[String]) -> Result<Value, Failure> {
    let (_, port) = address.rsplit_once(':').ok_or("no port")?;
    let service = |topic: &String| json!({"topic": topic, "path": "/call", "timeout": 5});
    let services: Vec<_> = topics.iter().map(service).collect();
    Ok(json!({"port": port, "name": name, "services": services}))
}

/// Registers a node; its id.
pub(super) fn register(gateway: &str, body: &Value) -> Result<String, Failure> {
    let body = body.to_string();
    let mut stream = TcpStream::connect(gateway)?;
    let head = format!(
        "POST /nodes HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, text) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    let answer: Value = serde_json::from_str(text)?;
    let id = answer["id"].as_str().ok_or_else(|| format!("not registered: {answer}"))?;
    Ok(id.to_owned())
}

pub(super) fn run() -> Result<(), Failure> {
    let node = Server::start("gilmour-node")?;
    let dir = scratch()?;
    configure(dir.path(), "")?;
    let server = Bundled::start(dir.path())?;
    let address = server.url("gilmour")?.trim_start_matches("http://").to_owned();
    let before = resident_of(server.id())?;
    for number in 0..NODES {
        let topics: Vec<_> = (0..SERVICES).map(|n| format!("t{number}.{n}")).collect();
        register(&address, &body(&node.address, &format!("node-{number}"), &topics)?)?;
    }
    std::thread::sleep(SETTLE);
    let grown = resident_of(server.id())?.saturating_sub(before);
    println!("{NODES} nodes with {SERVICES} services each, `engine = memory`\n");
    table(
        &["figure", "value"],
        &[
            vec![
                "resident memory before".to_owned(),
                format!("{:.1} MiB", before as f64 / f64::from(1 << 20)),
            ],
            vec![
                "memory of a node".to_owned(),
                format!("{:.1} KiB", grown as f64 / 1024.0 / NODES as f64),
            ],
        ],
    );
    Ok(())
}
