//! Signals become messages, messages become requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};

use poa_core::AgentId;
use poa_handler_gilmour::{GilmourReceiver, ReceiverConfig};
use poa_testkit::TestHost;
use serde_json::{Value, json};

use crate::support::{Does, Gateway, Node, config, echo, read, soon};

const RULES: &str = r#"
health_interval = "100ms"
signals = [
    { topic = "metrics.*", data_type = "system_metrics" },
    { topic = "metrics.deep.*", data_type = "networking_metrics", agent = { field = "/who/id" } },
]
"#;

#[tokio::test]
async fn a_signal_becomes_a_message_by_every_rule_it_satisfies() {
    let gateway = Gateway::start(read(RULES)).await;
    let node = Node::start(echo).await;
    let id = gateway.register(json!({"port": node.port, "name": "pump-7"})).await;
    let signal = format!("/signal/{id}");
    let send = async |topic: &str, message: Value| {
        gateway.post(&signal, json!({"topic": topic, "message": message})).await
    };
    assert_eq!(send("metrics.cpu", json!({"cpu_load": 1.5})).await.0, 200);
    assert_eq!(send("metrics.cpu", json!([1])).await.1["receivers"], 1);
    assert_eq!(send("other", json!(1)).await.1["receivers"], 0);
    assert_eq!(send("metrics.deep.x", json!({"who": {"id": 7}})).await.0, 200);
    let (status, answer) = send("metrics.deep.x", json!({"who": {}})).await;
    assert_eq!(status, 400, "{answer}");
    let messages = gateway.recording.messages(4).await;
    let seen = |index: usize| {
        let message = &messages[index];
        let data = message.payload().to_json().unwrap().into_owned();
        (message.agent_id().to_string(), message.data_type().to_string(), data)
    };
    let is =
        |agent: &str, kind: &str, data: &str| (agent.to_owned(), kind.to_owned(), data.to_owned());
    assert_eq!(messages.len(), 4);
    assert_eq!(seen(0), is("pump-7", "system_metrics", r#"{"cpu_load":1.5}"#));
    assert_eq!(seen(1), is("pump-7", "system_metrics", r#"{"value":[1]}"#));
    assert_eq!(seen(2), is("pump-7", "system_metrics", r#"{"who":{"id":7}}"#));
    assert_eq!(seen(3), is("7", "networking_metrics", r#"{"who":{"id":7}}"#));
}

#[tokio::test]
async fn a_node_that_is_unavailable_is_an_inactive_agent() {
    let gateway = Gateway::start(read(RULES)).await;
    let node = Node::start(echo).await;
    let id = gateway.register(json!({"port": node.port, "name": "pump-7"})).await;
    gateway.post(&format!("/signal/{id}"), json!({"topic": "metrics.cpu", "message": {}})).await;
    let pump = AgentId::new("pump-7").unwrap();
    let became = async |active: bool| {
        soon(gateway.recording.until(|record| {
            record
                .activity
                .last()
                .is_some_and(|last| last.agent_id == pump && last.active == active)
        }))
        .await
    };
    became(true).await;
    node.health.store(500, SeqCst);
    became(false).await;
}

#[tokio::test]
async fn an_unknown_data_type_stops_the_start() {
    let rule = read("signals = [{ topic = \"a\", data_type = \"unknown\" }]");
    let types = poa_core::DataTypes::new(["system_metrics"]).unwrap();
    let cx =
        poa_core::BuildContext::detached("gilmour", std::env::temp_dir()).with_data_types(types);
    let error = poa_core::Plugin::build(rule, &cx).await;
    let error: poa_core::BuildError = match error {
        Ok::<poa_handler_gilmour::GilmourGateway, _>(_) => panic!("it starts"),
        Err(error) => error,
    };
    assert!(error.to_string().contains("`metrics` does not list"), "{error}");
}

/// A gateway whose host gives messages of `ethereum_metrics` to a topic, and a node that answers with the status of now.
async fn receiving(config: ReceiverConfig) -> (Gateway, Node, Arc<AtomicU16>) {
    let options = TestHost::options();
    let gateway = Gateway::start_with(self::config(), |host| {
        host.receiver::<GilmourReceiver>("signals", options, config)
    })
    .await;
    let status = Arc::new(AtomicU16::new(200));
    let now = status.clone();
    let node = Node::start(move |_, _| Does::Answer(now.load(SeqCst), json!("why"))).await;
    (gateway, node, status)
}

#[tokio::test]
async fn a_message_becomes_a_request_that_confirms_it() {
    let (gateway, node, _) = receiving(ReceiverConfig::new("store.{data_type}.{agent_id}")).await;
    gateway.register(node.serving(&["store.system_metrics.pump-7"])).await;
    let draft = gateway.host.draft("pump-7", "system_metrics", &json!({"cpu_load": 1.5}));
    soon(gateway.host.deliver(draft)).await.unwrap();
    let (_, call) = node.calls().remove(0);
    assert_eq!(call["topic"], "store.system_metrics.pump-7");
    let data = call["data"].as_object().unwrap();
    assert_eq!(
        data.keys().map(String::as_str).collect::<Vec<_>>(),
        ["agent_id", "data", "data_type", "id", "received"]
    );
    assert_eq!((&data["agent_id"], &data["data"]), (&json!("pump-7"), &json!({"cpu_load": 1.5})));
    assert!(gateway.host.stop().await.is_clean());
}

#[tokio::test]
async fn a_reply_decides_between_a_retry_and_a_dead_letter() {
    let (gateway, node, status) = receiving(ReceiverConfig::new("store")).await;
    gateway.register(node.serving(&["store"])).await;
    let draft = || gateway.host.draft("pump-7", "system_metrics", &json!({}));
    status.store(422, SeqCst);
    assert!(soon(gateway.host.deliver(draft())).await.is_err());
    assert_eq!(gateway.host.status("signals").delivery.unwrap().dead_lettered, 1);
    status.store(503, SeqCst);
    let delivery = gateway.host.deliver(draft());
    let calls = node.calls().len();
    let recover = async {
        soon(async {
            while node.calls().len() < calls + 3 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        status.store(200, SeqCst);
    };
    let (delivered, ()) = tokio::join!(soon(delivery), recover);
    delivered.unwrap();
}

#[tokio::test]
async fn a_message_becomes_a_signal() {
    let (gateway, node, _) = receiving(ReceiverConfig::new("poa.{data_type}").signals()).await;
    let slots = json!([{"topic": "poa.*", "path": "/slot"}]);
    gateway.register(json!({"port": node.port, "slots": slots})).await;
    let draft = gateway.host.draft("pump-7", "system_metrics", &json!({"a": 1}));
    soon(gateway.host.deliver(draft)).await.unwrap();
    soon(async {
        while node.calls().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(node.calls()[0].1["data"]["data"], json!({"a": 1}));
}

#[tokio::test]
async fn messages_of_an_agent_keep_their_order_and_are_not_sent_twice_because_of_others() {
    let (gateway, node, _) = receiving(ReceiverConfig::new("store.{agent_id}")).await;
    gateway.register(node.serving(&["store.a"])).await;
    // Nothing serves the other agent yet: its messages wait.
    let handle = gateway.host.handle();
    let receipts: Vec<_> = (0..20)
        .map(|n| {
            let agent = if n % 2 == 0 { "a" } else { "b" };
            let draft = gateway.host.draft(agent, "system_metrics", &json!({"n": n}));
            handle.send_to_receivers(draft).unwrap()
        })
        .collect();
    soon(async {
        while gateway.host.status("signals").delivery.unwrap().retried == 0
            || node.calls().len() < 10
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    gateway.register(node.serving(&["store.b"])).await;
    for receipt in receipts {
        soon(receipt).await.unwrap();
    }
    let calls = node.calls();
    assert_eq!(calls.len(), 20, "{calls:?}");
    for agent in ["a", "b"] {
        let of = calls.iter().filter(|(_, call)| call["data"]["agent_id"] == agent);
        let order: Vec<_> =
            of.map(|(_, call)| call["data"]["data"]["n"].as_i64().unwrap()).collect();
        assert!(order.is_sorted(), "{order:?}");
    }
}
