//! The table of what the protocol asks for, compared with the tests; and the few faults of the originals that no other test is about.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::{Gateway, Node, config, echo};

const TABLE: &str = include_str!("../conformance.md");
/// The directories with the tests, from this crate.
const SOURCES: [&str; 4] = ["src", "tests", "../poa-gilmour/src", "../poa-gilmour/tests"];

/// The names of all functions below a directory.
fn functions(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            functions(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let names = text.split("fn ").skip(1).filter_map(|rest| rest.split_once('('));
            found.extend(names.map(|(name, _)| name.to_owned()));
        }
    }
}

#[test]
fn every_test_in_this_table_exists() {
    let mut known = BTreeSet::new();
    for source in SOURCES {
        functions(&Path::new(env!("CARGO_MANIFEST_DIR")).join(source), &mut known);
    }
    let quoted = TABLE.split('`').skip(1).step_by(2);
    let is_name = |text: &&str| text.matches('_').count() > 2 && !text.contains(' ');
    let named: Vec<_> = quoted.filter(is_name).collect();
    assert!(named.len() > 60, "{named:?}");
    let missing: Vec<_> = named.into_iter().filter(|name| !known.contains(*name)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

/// A node that tells which paths were asked for with GET, and answers all of them with this.
async fn asked(answer: &'static str) -> (u16, Arc<Mutex<BTreeSet<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let paths = Arc::<Mutex<BTreeSet<String>>>::default();
    let told = paths.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).await.unwrap_or(0);
            let text = String::from_utf8_lossy(&request[..read]).into_owned();
            told.lock().extend(text.split(' ').nth(1).map(str::to_owned));
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (port, paths)
}

#[tokio::test]
async fn the_health_path_of_a_node_is_asked_and_its_body_is_not_looked_at() {
    let gateway = Gateway::start(config()).await;
    let unusual = "HTTP/1.1 204 No Content\r\n\r\n";
    let (port, paths) = asked(unusual).await;
    gateway.register(json!({"port": port, "health_check": "alive?deep=1"})).await;
    assert_eq!(*paths.lock(), BTreeSet::from(["/alive?deep=1".to_owned()]));
    let ill = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nOK";
    let (port, paths) = asked(ill).await;
    let (status, answer) = gateway.post("/nodes", json!({"port": port})).await;
    assert_eq!(status, 502, "{answer}");
    assert_eq!(*paths.lock(), BTreeSet::from(["/health".to_owned()]));
}

#[tokio::test]
async fn a_node_without_services_can_be_given_one() {
    let gateway = Gateway::start(config()).await;
    let node = Node::start(echo).await;
    let id = gateway.register(json!({"port": node.port})).await;
    let services = format!("/nodes/{id}/services");
    assert_eq!(gateway.get(&services).await, (200, json!({"services": []})));
    let echo = json!({"topic": "echo", "path": "echo"});
    assert_eq!(gateway.post(&services, echo).await.0, 200);
    assert_eq!(gateway.request(&id, "echo", json!("x")).await.0, 200);
}
