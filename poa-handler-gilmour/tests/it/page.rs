//! The page, and the parts of the interface that it uses.

use std::sync::atomic::Ordering::SeqCst;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Does, Gateway, Node, ask, config, echo, read, soon};

const TOKEN: (&str, &str) = ("authorization", "Bearer a long token");
const LINES: (&str, &str) = ("accept", "application/x-ndjson");

#[tokio::test]
async fn every_file_that_the_page_names_is_served_without_a_token() {
    let gateway = Gateway::start(read("token = \"a long token\"")).await;
    let get = async |path: &str| ask(&gateway.address, "GET", path, &[], "").await;
    let (status, page) = get("/").await;
    assert_eq!(status, 200);
    let is_file = |text: &&str| [".js", ".css", ".svg"].iter().any(|end| text.ends_with(end));
    let page = page.as_str().unwrap().to_owned();
    let named: Vec<_> = page.split('"').filter(is_file).collect();
    assert!(named.len() > 3, "{named:?}");
    for file in named.into_iter().chain(["sign-in.js"]) {
        assert_eq!(get(&format!("/{file}")).await.0, 200, "{file}");
    }
    assert_eq!(ask(&gateway.address, "POST", "/", &[], "").await.0, 404);
}

#[tokio::test]
async fn the_overview_has_states_calls_and_failures() {
    let gateway = Gateway::start(config()).await;
    let node = Node::start(|path, call| match path {
        "/bad" => Does::Answer(503, json!("busy")),
        _ => echo(path, call),
    })
    .await;
    let id = gateway.register(node.serving(&["bad", "echo"])).await;
    for (topic, code) in [("echo", 200), ("bad", 503), ("echo", 200)] {
        assert_eq!(gateway.request(&id, topic, json!(1)).await.0, code);
    }
    let (status, overview) = gateway.get("/overview").await;
    assert_eq!(status, 200);
    assert_eq!(overview["engine"]["name"], "memory");
    assert_eq!(overview["engine"]["down"], Value::Null);
    assert_eq!(overview["engine"]["counts"]["requests"], 3);
    assert_eq!(overview["states"], json!({"ok": 1, "unavailable": 0, "dirty": 0}));
    let total = &overview["total"];
    assert_eq!((&total["calls"], &total["failed"]), (&json!(3), &json!(1)));
    let topics = overview["topics"]["shown"].as_array().unwrap();
    let figures = |at: usize| {
        let topic = &topics[at];
        (topic["topic"].clone(), topic["calls"].clone(), topic["failed"].clone())
    };
    assert_eq!(figures(0), (json!("bad"), json!(1), json!(1)));
    assert_eq!(figures(1), (json!("echo"), json!(2), json!(0)));
    assert!(topics[1]["rate"].as_f64().unwrap() > 0.0 && topics[1]["p99"].is_number());
    let text = overview.to_string();
    assert!(!text.contains(&id) && text.contains(&id[..8]), "{text}");

    let (_, some) = gateway.get("/overview?contains=ech").await;
    assert_eq!((&some["topics"]["matching"], &some["nodes"]["matching"]), (&json!(1), &json!(1)));
    let (_, none) = gateway.get("/overview?contains=nothing").await;
    assert_eq!((&none["topics"]["matching"], &none["nodes"]["matching"]), (&json!(0), &json!(0)));
    gateway.ask("DELETE", &format!("/nodes/{id}"), &Value::Null).await;
    // The task that watched it lets go of it a moment later.
    soon(async {
        while gateway.get("/overview").await.1["topics"]["matching"] != 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn who_has_the_token_asks_without_a_node() {
    let gateway = Gateway::start(read("token = \"a long token\"")).await;
    let node = Node::start(echo).await;
    let mut body = node.serving(&["echo"]);
    body["slots"] = json!([{"topic": "log.*", "path": "/log"}]);
    let post = async |path: &str, body: Value| {
        ask(&gateway.address, "POST", path, &[TOKEN], &body.to_string()).await
    };
    assert_eq!(post("/nodes", body).await.0, 201);
    for path in ["/request", "/signal/", "/composition", "/overview"] {
        let method = if path == "/overview" { "GET" } else { "POST" };
        assert_eq!(ask(&gateway.address, method, path, &[], "{}").await.0, 401, "{path}");
    }
    let (status, answer) = post("/request", json!({"topic": "echo", "message": 7})).await;
    assert_eq!((status, &answer["messages"][0]["data"]), (200, &json!(7)));
    let (status, answer) = post("/signal", json!({"topic": "log.start"})).await;
    assert_eq!((status, &answer["receivers"]), (200, &json!(1)));
    let lambda = json!({"composition": {"lambda": "x"}});
    let (status, answer) = post("/composition", lambda).await;
    assert_eq!(status, 400);
    let why = answer["messages"][0]["data"].as_str().unwrap();
    assert!(why.contains("no node asks"), "{answer}");
}

#[tokio::test]
async fn without_a_token_pages_of_other_hosts_are_refused() {
    let gateway = Gateway::start(config()).await;
    let from = async |origin: &str| {
        let headers = [("origin", origin)];
        ask(&gateway.address, "POST", "/request", &headers, r#"{"topic":"t"}"#).await.0
    };
    assert_eq!(from("https://example.org").await, 403);
    assert_eq!(from(&format!("http://{}", gateway.address)).await, 404);
}

/// The lines of an answer that comes in chunks.
fn lines(answer: &Value) -> Vec<Value> {
    let lines = answer.as_str().unwrap().lines().filter(|line| line.starts_with('{'));
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_composition_is_told_step_by_step() {
    let gateway = Gateway::start(config()).await;
    let node = Node::start(echo).await;
    let id = gateway.register(node.serving(&["echo"])).await;
    let steps = json!({"pipe": [{"requests": {"echo": ""}}, {"requests": {"missing": ""}}, {"lambda": "x"}]});
    for path in ["/composition".to_owned(), format!("/request/{id}")] {
        let body = json!({"composition": steps, "message": 7}).to_string();
        let (status, answer) = ask(&gateway.address, "POST", &path, &[LINES], &body).await;
        assert_eq!(status, 200);
        let lines = lines(&answer);
        let outline = lines[0]["outline"].as_array().unwrap();
        assert_eq!(outline.len(), 4);
        assert_eq!(outline[2], json!({"depth": 1, "operator": "requests", "target": "missing"}));
        let told: Vec<_> = lines[1..lines.len() - 1]
            .iter()
            .map(|line| (line["step"].as_u64().unwrap(), line["code"].as_i64()))
            .collect();
        let expected =
            [(0, None), (1, None), (1, Some(200)), (2, None), (2, Some(404)), (0, Some(404))];
        assert_eq!(told, expected);
        let last = lines.last().unwrap();
        assert_eq!((&last["code"], &last["length"]), (&json!(404), &json!(1)));
    }
    let wrong = r#"{"composition":{}}"#;
    assert_eq!(ask(&gateway.address, "POST", "/composition", &[LINES], wrong).await.0, 400);
}

#[tokio::test]
async fn a_reader_that_leaves_ends_the_evaluation() {
    let gateway = Gateway::start(config()).await;
    let node = Node::start(|_, _| Does::Hang).await;
    let id = gateway.register(json!({"port": node.port})).await;
    let body = r#"{"composition":{"lambda":"x"}}"#;
    let request = format!(
        "POST /composition/{id} HTTP/1.1\r\nhost: x\r\naccept: {}\r\ncontent-length: {}\r\n\r\n{body}",
        LINES.1,
        body.len()
    );
    let mut stream = TcpStream::connect(&gateway.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut seen = String::new();
    while !seen.contains("\"began\"") {
        let mut bytes = [0; 1024];
        let read = soon(stream.read(&mut bytes)).await.unwrap();
        assert_ne!(read, 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    drop(stream);
    soon(async {
        while node.closed.load(SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
