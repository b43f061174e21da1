//! The traces of the real server, decoded by the official classes of OTLP for Python, which know the names of the semantic conventions.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::path::Path;
use std::process::Stdio;

use poa_tests::{Home, Request, Server, soon, sqlite};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// A receiver that wants the first message again, and then refuses it.
const PICKY: &str = r#"
import json, sys
print('{"type":"ready","protocol":1}', flush=True)
kind = "retry"
for line in sys.stdin:
    frame = json.loads(line)
    if frame["type"] == "batch":
        print(json.dumps({"type": kind, "id": frame["id"], "reason": "not this one"}), flush=True)
        kind = "refuse"
"#;
/// The span of an agent, as W3C Trace Context writes it.
const AGENT_SPAN: &str = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";
/// The publication, the delivery to `local`, both attempts of `picky` and its dead letter.
const SPANS: usize = 5;

/// The collector in Python.
struct Collector {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    port: String,
}

impl Collector {
    async fn start() -> Self {
        let Some(python) = std::env::var_os("POA_TEST_OTLP_PYTHON") else {
            panic!(
                "set POA_TEST_OTLP_PYTHON to a Python that has `opentelemetry-proto`, or run `cargo xtask test`"
            )
        };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/otlp_collector.py");
        let mut command = Command::new(python);
        command.arg(script).arg(SPANS.to_string()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = soon("the collector listens", lines.next_line()).await.unwrap().unwrap();
        Self { _child: child, lines, port }
    }

    /// All spans, if each is as it must be.
    async fn end(mut self) -> Value {
        let line = soon("all spans arrive", self.lines.next_line()).await.unwrap();
        serde_json::from_str(&line.expect("the collector did not refuse a span")).unwrap()
    }
}

fn config(port: &str, compression: &str) -> String {
    let local = sqlite("local", "metrics.db", "");
    let picky = "[receivers.picky]\nkind = \"exec\"\ncommand = [\"python3\", \"picky.py\"]\n\
        subscribe = [\"system_metrics\"]\nretry = { initial = \"10ms\" }\n";
    format!(
        "{local}{picky}[traces]\nendpoint = \"http://127.0.0.1:{port}/v1/traces\"\nsample = 1.0\ninterval = \"50ms\"\ncompression = \"{compression}\"\n"
    )
}

#[tokio::test]
async fn official_classes_read_what_the_server_exports() {
    for compression in ["none", "gzip"] {
        let told = trace_one_message(compression).await;
        check(&told);
    }
}

/// Everything that the collector learns about one message.
async fn trace_one_message(compression: &str) -> Value {
    let collector = Collector::start().await;
    let home = Home::with(&config(&collector.port, compression));
    std::fs::write(home.path().join("picky.py"), PICKY).unwrap();
    let server = Server::start(&home).await;
    let token = server.login().await;
    let body = json!({"id": "agent-1", "type": "system_metrics",
        "data": {"type": "statistics", "body": {"cpu_load": 1.5}}});
    let request =
        Request::post("/data", &token).header("traceparent", &format!("00-{AGENT_SPAN}-01"));
    let answer = server.ask("rest", &request.json(&body.to_string())).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let told = collector.end().await;
    server.stop().await;
    told
}

fn check(told: &Value) {
    let (service, spans) = (&told["service"], told["spans"].as_array().unwrap());
    assert_eq!((&service["service.name"], spans.len()), (&json!("poa"), SPANS));
    for name in ["service.version", "service.instance.id", "host.name"] {
        assert!(service[name].is_string(), "{name}: {service}");
    }
    let root = spans.iter().find(|span| span["parent_span_id"] == "").unwrap();
    assert_eq!(root["links"], json!([AGENT_SPAN]));
    let mut shown: Vec<_> = spans.iter().map(|span| shape(span, root)).collect();
    shown.sort();
    let local = ("deliver local", "SPAN_KIND_CONSUMER", "process", "", "1");
    let mut expected = [
        ("publish system_metrics", "SPAN_KIND_PRODUCER", "send", "", ""),
        local,
        ("deliver picky", "SPAN_KIND_CONSUMER", "process", "not this one", "1"),
        ("deliver picky", "SPAN_KIND_CONSUMER", "process", "not deliverable: not this one", "2"),
        ("dead-letter picky", "SPAN_KIND_INTERNAL", "settle", "not this one", ""),
    ]
    .map(|(name, kind, operation, error, attempt)| {
        [name, kind, operation, error, attempt].map(str::to_owned)
    });
    expected.sort();
    assert_eq!(shown, expected);
}

/// Name, kind, operation, error and attempt of a span that belongs to the trace of this root.
fn shape(span: &Value, root: &Value) -> [String; 5] {
    let attributes = &span["attributes"];
    let id = root["attributes"]["messaging.message.id"].as_str().unwrap();
    assert_eq!(span["trace_id"], id.replace('-', ""));
    assert_eq!(
        (&attributes["messaging.system"], &attributes["messaging.message.id"]),
        (&json!("poa"), &json!(id))
    );
    assert_eq!(attributes["messaging.destination.name"], "system_metrics");
    let is_root = span["span_id"] == root["span_id"];
    assert!(is_root || span["parent_span_id"] == root["span_id"], "{span}");
    assert!(is_root || span["start"].as_u64() >= root["start"].as_u64(), "{span} before {root}");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let attempt = attributes["poa.attempt"].as_u64().map(|attempt| attempt.to_string());
    [
        text(&span["name"]),
        text(&span["kind"]),
        text(&attributes["messaging.operation.type"]),
        text(&span["error"]),
        attempt.unwrap_or_default(),
    ]
}
