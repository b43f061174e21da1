//! The gateway over NATS.

use poa_test_nats::{Servers, Setup};
use serde_json::json;

use crate::support::{Gateway, Node, echo, read, soon};

fn config(server: &Servers) -> poa_handler_gilmour::Config {
    read(&format!(
        "engine = \"nats\"\nurl = \"{}\"\nhealth_interval = \"100ms\"\n\
         signals = [{{ topic = \"metrics.*\", data_type = \"system_metrics\" }}]",
        server.url(0)
    ))
}

async fn server() -> Servers {
    tokio::task::spawn_blocking(|| Servers::start(Setup::single()).unwrap()).await.unwrap()
}

#[tokio::test]
async fn nodes_of_two_gateways_call_each_other_and_a_signal_is_stored_once() {
    let server = server().await;
    let (one, two) = (Gateway::start(config(&server)).await, Gateway::start(config(&server)).await);
    let node = Node::start(echo).await;
    one.register(node.serving(&["echo"])).await;
    let other = Node::start(echo).await;
    let slots = json!([{"topic": "metrics.*", "path": "/slot"}]);
    let id = two.register(json!({"port": other.port, "name": "pump-7", "slots": slots})).await;
    let (status, answer) = two.request(&id, "echo", json!({"a": 1})).await;
    assert_eq!((status, &answer["messages"][0]["data"]), (200, &json!({"a": 1})));
    assert_eq!(two.request(&id, "missing", json!(1)).await.0, 404);
    // Taken by this gateway: the other one leaves it.
    let signal = json!({"topic": "metrics.cpu", "message": {"cpu_load": 1.5}});
    let (status, answer) = two.post(&format!("/signal/{id}"), signal).await;
    assert_eq!((status, &answer["status"]), (200, &json!(0)), "{answer}");
    assert!(answer.get("receivers").is_none(), "NATS cannot tell: {answer}");
    soon(async {
        while other.calls().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let stored = two.recording.messages(1).await;
    assert_eq!(stored[0].agent_id().as_str(), "pump-7");
    // One of a stranger: one gateway of the group stores it.
    let stranger = async_nats::connect(server.url(0)).await.unwrap();
    let text = r#"{"data":{"cpu_load":2},"code":200,"sender":"s"}"#;
    stranger.publish("gilmour.slot.metrics.cpu", text.into()).await.unwrap();
    stranger.flush().await.unwrap();
    soon(async {
        while one.recording.record().messages().count() + two.recording.record().messages().count()
            < 2
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(
        one.recording.record().messages().count() + two.recording.record().messages().count(),
        2
    );
}

#[tokio::test]
async fn what_nats_cannot_carry_is_400() {
    let server = server().await;
    let gateway = Gateway::start(config(&server)).await;
    let node = Node::start(echo).await;
    for service in [json!({"topic": "a..b", "path": "p"}), json!({"topic": "a b", "path": "p"})] {
        let body = json!({"port": node.port, "services": [service]});
        assert_eq!(gateway.post("/nodes", body).await.0, 400);
    }
    let id = gateway.register(json!({"port": node.port})).await;
    let slot = json!({"topic": "pin*", "group": "g", "path": "p"});
    assert_eq!(gateway.post(&format!("/nodes/{id}/slots"), slot).await.0, 400);
    assert_eq!(gateway.request(&id, "a..b", json!(1)).await.0, 400);
    assert_eq!(gateway.post(&format!("/signal/{id}"), json!({"topic": "a..b"})).await.0, 400);
}

#[tokio::test]
async fn without_nats_everything_is_503_with_the_cause_until_it_is_back() {
    let mut server = server().await;
    let gateway = Gateway::start(config(&server)).await;
    let node = Node::start(echo).await;
    let id = gateway.register(node.serving(&["echo"])).await;
    server.kill(0);
    soon(async {
        while gateway.get("/healthz").await.0 != 503 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let (status, answer) = gateway.request(&id, "echo", json!(1)).await;
    assert_eq!(status, 503);
    let text = answer["messages"][0]["data"].as_str().unwrap();
    assert!(text.starts_with("nats cannot be reached: "), "{text}");
    let (status, answer) = gateway.post(&format!("/signal/{id}"), json!({"topic": "t"})).await;
    assert_eq!((status, &answer["status"]), (503, &json!(1)));
    assert_eq!(gateway.get(&format!("/nodes/{id}")).await.1["waiting"], json!(["echo"]));
    let server = tokio::task::spawn_blocking(move || {
        server.resume(0).unwrap();
        server
    });
    let _server = server.await.unwrap();
    soon(async {
        while gateway.request(&id, "echo", json!(1)).await.0 != 200 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(gateway.get("/healthz").await.0, 200);
}
