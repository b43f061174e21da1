//! Traces of a running server.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../poa-traces/tests/it/collector.rs"]
mod collector;
mod support;

use std::path::Path;

use collector::{Collector, attribute};
use poa_handler_rest::Rest;
use poa_host::{Config, Server, Source};
use support::served::Served;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A configuration with these traces.
fn config(folder: &Path, traces: &str) -> String {
    let data_dir = toml::Value::String(folder.join("data").display().to_string());
    format!(
        "data_dir = {data_dir}\nmetrics = [\"blocks\"]\n[admin]\nlisten = \"127.0.0.1:0\"\n[bus]\nengine = \"log\"\n\
         [handlers.front]\nkind = \"rest\"\nlisten = \"127.0.0.1:0\"\nanonymous = true\n\
         [receivers.local]\nkind = \"box\"\npath = \"x\"\nsubscribe = [\"blocks\"]\n{traces}\n"
    )
}

async fn serve(traces: &str) -> Served {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("poa.toml");
    std::fs::write(&file, config(folder.path(), traces)).unwrap();
    let registry = support::registry().handler::<Rest>("rest");
    let server = Server::start(Source::File(file), registry).await.unwrap();
    Served::serve(folder, server)
}

/// The ids of the span in which messages are sent.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

async fn post(address: &str) {
    let body = "{\"id\":\"pump-7\",\"type\":\"blocks\",\"data\":{\"type\":\"statistics\",\"body\":{\"n\":1}}}";
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /data HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
         traceparent: 00-{TRACE}-{SPAN}-01\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

fn table(collector: &Collector, more: &str) -> String {
    format!(
        "[traces]\nendpoint = \"{}\"\nsample = 1.0\ninterval = \"1h\"\n{more}",
        collector.endpoint()
    )
}

#[tokio::test]
async fn a_server_exports_traces_at_the_latest_when_it_stops() {
    let collector = Collector::start();
    let served = serve(&table(&collector, "service_name = \"ingest\"")).await;
    post(served.front.as_ref().unwrap()).await;
    assert_eq!(served.stop().await.exit_code(), 0);
    let came = collector.came();
    let mut names: Vec<_> = came.spans.iter().map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["deliver local", "publish blocks"]);
    let root = came.spans.iter().find(|span| span.name == "publish blocks").unwrap();
    let [link] = &root.links[..] else { panic!("{root:?}") };
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!((hex(&link.trace_id).as_str(), hex(&link.span_id).as_str()), (TRACE, SPAN));
    assert_eq!(attribute(&came.service, "service.name"), "ingest");
    assert_eq!(attribute(&came.service, "service.version"), env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn a_reload_applies_changed_traces() {
    let (before, after) = (Collector::start(), Collector::start());
    let served = serve(&table(&before, "")).await;
    let address = served.front.clone().unwrap();
    post(&address).await;
    let listen = format!("\"{address}\"");
    let text = |traces: &str| {
        let text = config(served.folder.path(), traces);
        text.replacen(
            "[handlers.front]\nkind = \"rest\"\nlisten = \"127.0.0.1:0\"",
            &format!("[handlers.front]\nkind = \"rest\"\nlisten = {listen}"),
            1,
        )
    };
    served.reload(&text(&table(&after, ""))).await;
    let is_applied = |status: &serde_json::Value| {
        status["phase"] == "ready" && status["last_reload"]["result"] == "applied"
    };
    served.until(is_applied).await;
    assert_eq!(before.spans(2).await.len(), 2);
    post(&address).await;
    served.stop().await;
    assert_eq!((before.came().spans.len(), after.came().spans.len()), (2, 2));
}

#[tokio::test]
async fn without_the_table_nothing_is_traced() {
    let served = serve("").await;
    post(served.front.as_ref().unwrap()).await;
    let (_, metrics) = support::served::ask(&served.admin, "GET", "/metrics").await;
    assert!(!metrics.contains("poa_traces"), "{metrics}");
    served.stop().await;
}

#[test]
fn problems_are_found_where_they_are_and_show_no_secret() {
    let traces = "[traces]\nendpoint = \"http://127.0.0.1:4318\"\nsample = 2\nsamples = 1\n\
                  [traces.headers]\nauthorization = \"hunter2\\n\"";
    let text = config(Path::new("/tmp"), traces);
    let problems = Config::parse(&text, Path::new("poa.toml"), &{
        support::registry().handler::<Rest>("rest")
    });
    let lines: Vec<_> = problems.unwrap_err().lines().collect();
    let line = |key: &str| {
        let found = lines.iter().find(|line| line.contains(key));
        found.unwrap_or_else(|| panic!("{key} in {lines:#?}")).as_str()
    };
    assert!(line("traces.endpoint").contains("write \"http://127.0.0.1:4318/v1/traces\""));
    assert!(line("traces.sample:").contains("at most 1"), "{lines:#?}");
    assert!(line("samples").contains("did you mean `sample`"), "{lines:#?}");
    assert!(line("traces.headers.authorization").contains("not valid in a header"));
    assert!(lines.iter().all(|line| !line.contains("hunter2")), "{lines:#?}");
    assert!(line("traces.endpoint").starts_with("poa.toml:16:12:"), "{lines:#?}");
}
