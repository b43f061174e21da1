//! Every recorded exchange of the two original proxies, sent again. The answers are those of the specification, not those of the originals.

use std::sync::atomic::Ordering::SeqCst;

use serde_json::{Value, json};

use crate::support::{Does, Gateway, Node, ask, read, soon};

/// A recorded request.
struct Exchange {
    note: String,
    method: String,
    path: String,
    body: Value,
    authorization: bool,
}

fn exchanges(proxy: &str) -> Vec<Exchange> {
    let lines = include_str!("../fixtures/gilmour_proxy_http.jsonl").lines();
    let all = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    all.filter(|exchange| exchange["proxy"] == proxy)
        .map(|exchange| Exchange {
            note: text(&exchange["note"]),
            method: text(&exchange["request"]["method"]),
            path: text(&exchange["request"]["path"]),
            body: exchange["request"]["body"].clone(),
            authorization: exchange["request"]["authorization"] == true,
        })
        .collect()
}

/// A string that was recorded as a body is the raw text: it was sent to see what becomes of what is not JSON.
fn raw(body: &Value) -> String {
    match body {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The services that the recorded nodes called: each adds its name, some fail.
fn services(path: &str, call: Value) -> Does {
    let handler = call["handler_path"].as_str().unwrap_or(path).to_owned();
    let name = handler.trim_start_matches("/compose-").to_owned();
    let mut data = call["data"].clone();
    if let Some(object) = data.as_object_mut() {
        object.insert(format!("ack-{name}"), json!(name));
    }
    match &*name {
        "slow" => Does::Hang,
        code if code.parse::<u16>().is_ok() => Does::Answer(code.parse().unwrap(), data),
        _ => Does::Answer(200, data),
    }
}

const NEW: &str = "ah7ayhfsuwmty2l300ebwo0yip2lm1aah52h6j4mkfp3s7buhx";
const BARE: &str = "a1on1i25cw1larh2257vabt0nwowyqtkdrqccrkdqwwzkbonbz";
const OLD: &str = "iz3sbggm0uvlyrcxj0234deipd6cif91r7iqtqbwxw4evcr3wv";

#[tokio::test]
async fn the_exchanges_of_the_new_proxy() {
    let gateway = Gateway::start(read("health_interval = \"100ms\"")).await;
    let mut node = Some(Node::start(services).await);
    let port = node.as_ref().unwrap().port;
    let closed = Node::start(services).await.stop().await;
    let (mut first, mut bare) = (String::new(), String::new());
    for Exchange { note, method, path, body, .. } in exchanges("new") {
        prepare(&gateway, &note, &path, &mut node, &first).await;
        let path = path.replace(NEW, &first).replace(BARE, &bare);
        let body =
            raw(&body).replace("56391", &port.to_string()).replace("56399", &closed.to_string());
        let (status, answer) = ask(&gateway.address, &method, &path, &[], &body).await;
        let what = format!("{note}: {method} {path} {body} -> {status} {answer}");
        assert!(answer.is_object(), "{what}");
        assert_eq!(status, expected_of_new(&note, &method, &path, &body, &answer), "{what}");
        assert_eq!(answer["error"].is_string(), status >= 400, "{what}");
        if status == 201 && note == "good node" {
            first = answer["id"].as_str().unwrap().to_owned();
        } else if status == 201 {
            bare = answer["id"].as_str().unwrap().to_owned();
        }
    }
}

/// The events between two exchanges.
async fn prepare(gateway: &Gateway, note: &str, path: &str, node: &mut Option<Node>, id: &str) {
    match note {
        "after failing the health check" => {
            node.as_ref().unwrap().health.store(500, SeqCst);
            gateway.until(id, "unavailable").await;
        }
        "node process gone: delete refused" => {
            assert!(path.contains(NEW));
            node.take().unwrap().stop().await;
        }
        _ => {}
    }
}

fn expected_of_new(note: &str, method: &str, path: &str, body: &str, answer: &Value) -> u16 {
    match (note, method) {
        (note, _) if note.ends_with("listens on the port") => 502,
        ("good node" | "services as the list of the docs", _) => 201,
        ("request while unavailable", _) => 409,
        ("node process gone: delete refused", _) => 200,
        ("duplicate topic and group", _) => 409,
        ("wildcard service", _) => 400,
        ("no topic", _) => 400,
        ("deleted", _) => 404,
        ("unknown id" | "unknown node", _) => 404,
        (_, "POST") if path == "/nodes" => 201,
        _ if path.contains("unknown") => 404,
        _ if body == "nojson" || body == "bad" => 400,
        (_, "DELETE")
            if path.starts_with("/nodes/")
                && !path.contains('?')
                && !path.contains("slots")
                && !path.contains("services") =>
        {
            // It was deleted before.
            404
        }
        (_, "GET") if path.ends_with("/services") => {
            assert!(
                answer["services"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|service| service["topic"].is_string())
            );
            200
        }
        (_, "GET") if path.ends_with("/slots") => {
            let fields = |slot: &Value| slot.as_object().unwrap().len() == 4;
            assert!(answer["slots"].as_array().unwrap().iter().all(fields), "{answer}");
            200
        }
        (_, "POST") if path.starts_with("/request/") => {
            assert_eq!((&answer["code"], &answer["length"]), (&json!(200), &json!(1)));
            200
        }
        (_, "GET") => {
            assert!(answer["port"].is_number() && answer["services"].is_array(), "{answer}");
            200
        }
        _ => 200,
    }
}

#[tokio::test]
async fn the_exchanges_of_the_old_proxy() {
    let gateway = Gateway::start(read("")).await;
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("listen.sock");
    let node = Node::start_unix(&socket, services);
    let peers = Node::start(services).await;
    let mut topics = peers.serving(&[
        "compose-one",
        "compose-two",
        "compose-three",
        "compose-503",
        "compose-404",
    ]);
    topics["services"]
        .as_array_mut()
        .unwrap()
        .push(json!({"topic": "compose-slow", "path": "compose-slow"}));
    gateway.register(topics).await;
    let (mut id, mut asked) = (String::new(), false);
    for Exchange { note, method, path, body, authorization } in exchanges("old") {
        let path = path.replace(OLD, &id);
        let own = [("authorization", &*id)];
        let stranger = [("authorization", "a-stranger")];
        // The second time without a note, the recorder named a node that is not there.
        let is_unknown =
            note.is_empty() && path == "/nodes/services" && std::mem::replace(&mut asked, true);
        let headers: &[(&str, &str)] = match (authorization, is_unknown) {
            (false, _) => &[],
            (true, true) => &stranger,
            (true, false) => &own,
        };
        if path == "/nodes" {
            // A relative path says nothing to a server that runs elsewhere.
            assert_eq!(
                ask(&gateway.address, &method, &path, headers, &body.to_string()).await.0,
                400
            );
        }
        let body = raw(&body).replace("listen.sock", &socket.display().to_string());
        let (status, answer) = ask(&gateway.address, &method, &path, headers, &body).await;
        let what = format!("{note}: {method} {path} {body} -> {status} {answer}");
        let expected = if is_unknown { 404 } else { expected_of_old(&note, &path, &body, &answer) };
        assert_eq!(status, expected, "{what}");
        if status == 201 {
            id = answer["id"].as_str().unwrap().to_owned();
        }
    }
    legacy_bodies(&node).await;
}

/// Calls go to `/`, and name the handler in the body.
async fn legacy_bodies(node: &Node) {
    soon(async {
        while !node.calls().iter().any(|(_, call)| call["handler_path"] == "/log_handler") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for (path, call) in node.calls() {
        assert_eq!(path, "/");
        assert!(call["handler_path"].is_string() && call.get("data").is_some(), "{call}");
    }
}

fn expected_of_old(note: &str, path: &str, body: &str, answer: &Value) -> u16 {
    match note {
        "create" => 201,
        "no Authorization header" => 401,
        "no listener" => 404,
        "service answers code 503" => 503,
        "timeout 1 s" => 499,
        "node answers a number" | "node answers 500" => 200,
        "no listener last" => {
            assert_eq!(answer["messages"][0]["code"], 404);
            404
        }
        "two topics in one requests object: only one (random) survives" => 400,
        "batch" => 503,
        _ if body == "bad" => 400,
        _ if path.starts_with("/health_check/") => {
            assert_eq!(answer, "I am alive!");
            200
        }
        _ if path.starts_with("/signal/") => {
            assert_eq!(answer["status"], 0);
            200
        }
        _ if path.starts_with("/composition/") => {
            assert_eq!(answer["code"], 200);
            assert_eq!(answer["length"], if note == "parallel" { 3 } else { 1 });
            200
        }
        _ => 200,
    }
}
