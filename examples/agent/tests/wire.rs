//! Messages of the agent have the shape of those of POA Backend's agents: `fixtures/agent_wire.jsonl` was recorded between a
//! real agent and the original server.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod support;

use std::time::{Duration, Instant};

use poa_agent::Agent;
use serde_json::Value;
use support::{Call, FakeServer, ID, all_well};
use tokio::sync::oneshot;

const RECORDED: &str = include_str!("fixtures/agent_wire.jsonl");

fn recorded(wanted: impl Fn(&Value) -> bool) -> Value {
    let mut lines = RECORDED.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.find(wanted).expect("such an exchange was recorded")
}

/// Every field of the one is in the other, with the same type, and none more.
#[track_caller]
fn assert_same_shape(sent: &Value, recorded: &Value, place: &str) {
    let (Some(sent), Some(recorded)) = (sent.as_object(), recorded.as_object()) else {
        assert_eq!(kind(sent), kind(recorded), "{place}");
        return;
    };
    assert_eq!(sent.keys().collect::<Vec<_>>(), recorded.keys().collect::<Vec<_>>(), "{place}");
    for (name, value) in sent {
        assert_same_shape(value, &recorded[name], &format!("{place}.{name}"));
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Object(_) => "object",
        _ => "other",
    }
}

async fn run_until_each_call_was_seen() -> (Vec<Call>, Vec<Call>, Vec<Call>, Duration) {
    let server = FakeServer::start(all_well).await;
    let (stop, stopped) = oneshot::channel();
    let agent = Agent::new(server.config()).unwrap();
    let begun = Instant::now();
    let life = tokio::spawn(agent.run(async { stopped.await.unwrap() }));
    let data = server.wait_for("/data", 2).await;
    let took = begun.elapsed();
    stop.send(()).unwrap();
    life.await.unwrap().unwrap();
    (server.calls("/session"), server.calls("/ping"), data, took)
}

#[tokio::test]
async fn every_call_of_a_real_agent_has_the_recorded_shape() {
    let (session, ping, data, took) = run_until_each_call_was_seen().await;
    let interval = poa_agent::Settings::default().interval;
    assert!(took < interval, "the first row took an interval: {took:?}");

    for (call, path) in [(&session[0], "/session"), (&ping[0], "/ping")] {
        let recorded = recorded(|exchange| exchange["path"] == path);
        assert_same_shape(&call.body, &recorded["body"], path);
        assert_eq!(call.content_type, recorded["content_type"]);
    }
    for data_type in ["system_metrics", "networking_metrics"] {
        let recorded = recorded(|exchange| exchange["body"]["type"] == data_type);
        let sent = data.iter().find(|call| call.body["type"] == data_type).unwrap();
        assert_same_shape(&sent.body, &recorded["body"], data_type);
        assert_eq!(sent.body["data"]["type"], recorded["body"]["data"]["type"]);
        assert_eq!(sent.content_type, recorded["content_type"]);
        assert_eq!(sent.body["id"], ID);
    }
}

#[tokio::test]
async fn the_numbers_are_those_of_a_machine() {
    let (session, _, data, _) = run_until_each_call_was_seen().await;
    let body = |data_type| {
        &data.iter().find(|call| call.body["type"] == data_type).unwrap().body["data"]["body"]
    };
    let system = body("system_metrics");
    assert!((0.0..=100.0).contains(&system["cpu_load"].as_f64().unwrap()), "{system}");
    assert!((0.0..=1.0).contains(&system["memory_usage"].as_f64().unwrap()), "{system}");
    assert!(system["disk_usage"].as_u64().unwrap() <= 100, "{system}");
    assert!(body("networking_metrics")["latency"].as_u64().unwrap() < 5_000);

    assert_eq!(session[0].authorization, "Basic YWxpY2U6YWxpY2VwYXNzd29yZA==");
    assert_eq!(session[0].body, serde_json::json!({"agent-id": ID}));
}
