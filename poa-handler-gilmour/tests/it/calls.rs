//! Requests, compositions and signals.

use std::sync::atomic::Ordering::SeqCst;

use serde_json::{Value, json};

use crate::support::{Does, Gateway, Node, config, echo, read, soon};

#[tokio::test]
async fn a_node_is_called_with_the_documented_body() {
    let gateway = Gateway::start(config()).await;
    let node = Node::start(echo).await;
    let id = gateway.register(node.serving(&["echo"])).await;
    let (status, answer) = gateway.request(&id, "echo", json!({"first": 1})).await;
    assert_eq!(status, 200);
    assert_eq!(
        answer,
        json!({"messages": [{"data": {"first": 1}, "code": 200}], "code": 200, "length": 1})
    );
    let (path, call) = node.calls().remove(0);
    assert_eq!(path, "/echo");
    assert_eq!(
        (&call["topic"], &call["data"], &call["timeout"]),
        (&json!("echo"), &json!({"first": 1}), &json!(5))
    );
    assert!(call["sender"].as_str().unwrap().len() > 30);
    assert_eq!(call.as_object().unwrap().len(), 4, "{call}");
    // The slash of the documents, and numbers with all their digits.
    let (_, answer) = gateway
        .post(&format!("/request/{id}/"), json!({"topic": "echo", "message": u64::MAX}))
        .await;
    assert_eq!(answer["messages"][0]["data"], json!(u64::MAX));
}

#[tokio::test]
async fn statuses_of_a_node_are_the_codes() {
    let gateway = Gateway::start(config()).await;
    let node =
        Node::start(|_, call| Does::Answer(call["data"].as_u64().unwrap() as u16, json!("text")))
            .await;
    let id = gateway.register(node.serving(&["code"])).await;
    for (status, code) in
        [(200, 200), (201, 200), (404, 404), (418, 418), (503, 503), (302, 502), (599, 599)]
    {
        let (answered, answer) = gateway.request(&id, "code", json!(status)).await;
        assert_eq!(
            (answered, answer["code"].as_u64().unwrap()),
            (code, u64::from(code)),
            "{answer}"
        );
    }
    let keeping = Gateway::start(read("keep_success_codes = true")).await;
    let id = keeping.register(node.serving(&["code"])).await;
    assert_eq!(keeping.request(&id, "code", json!(201)).await.0, 201);
}

#[tokio::test]
async fn what_cannot_be_asked_is_told() {
    let gateway = Gateway::start(config()).await;
    let node = Node::start(echo).await;
    let id = gateway.register(json!({"port": node.port})).await;
    let request = format!("/request/{id}");
    for body in [
        json!({}),
        json!([]),
        json!("x"),
        json!({"topic": "a", "composition": {"lambda": "x"}}),
        json!({"topic": ""}),
        json!({"topic": "a.*"}),
        json!({"topic": "gilmour.response.x"}),
        json!({"topic": "a", "timeout": -1}),
        json!({"topic": "a", "opts": {"timeout": 86401}}),
        json!({"composition": {"pipe": []}}),
        json!({"composition": {"pipe": [{"requests": {"a": "", "b": ""}}]}}),
        json!({"composition": {"requests": {"gilmour.errors": ""}}}),
    ] {
        let (status, answer) = gateway.post(&request, body.clone()).await;
        assert_eq!(status, 400, "{body}: {answer}");
        assert!(answer["error"].is_string() && answer.get("messages").is_none());
    }
    let (_, answer) =
        gateway.post(&request, json!({"composition": {"pipe": [{"lambda": 1}]}})).await;
    assert!(
        answer["error"].as_str().unwrap().starts_with("`/composition/pipe/0/lambda`"),
        "{answer}"
    );
    for path in ["/request/unknown", "/signal/unknown", "/composition/unknown"] {
        assert_eq!(gateway.post(path, json!({"topic": "a"})).await.0, 404);
    }
    // That of a service can be told from that of the gateway.
    let (status, answer) = gateway.request(&id, "missing", json!(1)).await;
    assert_eq!((status, &answer["messages"][0]["code"]), (404, &json!(404)));
    assert!(answer["messages"][0]["data"].as_str().unwrap().contains("missing"));
}

#[tokio::test]
async fn when_its_time_is_over_the_connection_is_closed_before_the_answer() {
    let gateway = Gateway::start(config()).await;
    let node = Node::start(|_, _| Does::Hang).await;
    let slow = json!({"topic": "slow", "path": "slow", "timeout": 1});
    let id = gateway.register(json!({"port": node.port, "services": [slow]})).await;
    let (status, answer) = gateway.request(&id, "slow", json!(1)).await;
    assert_eq!(status, 499);
    assert_eq!(answer["messages"][0], json!({"data": "Execution timed out", "code": 499}));
    soon(async {
        while node.closed.load(SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // The client's own time ends its wait as well.
    let (status, _) = gateway
        .post(&format!("/request/{id}"), json!({"topic": "slow", "opts": {"timeout": 1}}))
        .await;
    assert_eq!(status, 499);
    let ruby = Gateway::start(read("timeout_code = 504")).await;
    let id = ruby
        .register(
            json!({"port": node.port, "services": [{"topic": "slow", "path": "s", "timeout": 1}]}),
        )
        .await;
    assert_eq!(ruby.request(&id, "slow", json!(1)).await.0, 504);
}

#[tokio::test]
async fn two_nodes_of_one_group_share_the_requests() {
    let gateway = Gateway::start(config()).await;
    let (one, two) = (Node::start(echo).await, Node::start(echo).await);
    let id = gateway.register(one.serving(&["echo"])).await;
    gateway.register(two.serving(&["echo"])).await;
    for _ in 0..10 {
        assert_eq!(gateway.request(&id, "echo", json!(1)).await.0, 200);
    }
    assert_eq!((one.calls().len(), two.calls().len()), (5, 5));
}

#[tokio::test]
async fn calls_of_a_node_are_limited() {
    let gateway = Gateway::start(read("nodes = { calls = 1 }")).await;
    let node =
        Node::start(
            |path, _| if path == "/slow" { Does::Hang } else { Does::Answer(200, Value::Null) },
        )
        .await;
    let slow = json!({"topic": "slow", "path": "slow", "timeout": 2});
    let id = gateway
        .register(
            json!({"port": node.port, "services": [slow, {"topic": "quick", "path": "quick"}]}),
        )
        .await;
    let first = gateway.request(&id, "slow", json!(1));
    let second = async {
        soon(async {
            while node.calls().is_empty() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        gateway.request(&id, "quick", json!(1)).await
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!((first.0, second.0), (499, 503));
    assert_eq!(gateway.request(&id, "quick", json!(1)).await.0, 200);
}

#[tokio::test]
async fn signals_reach_slots_and_say_how_many() {
    let gateway = Gateway::start(config()).await;
    let node = Node::start(echo).await;
    let slots = json!([{"topic": "log.*", "path": "/log"}, {"topic": "log.a", "path": "/a"}]);
    let id = gateway.register(json!({"port": node.port, "slots": slots})).await;
    let signal = format!("/signal/{id}");
    let (status, answer) =
        gateway.post(&signal, json!({"topic": "log.a", "message": {"m": 1}})).await;
    assert_eq!((status, &answer["status"], &answer["receivers"]), (200, &json!(0), &json!(2)));
    soon(async {
        while node.calls().len() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for (_, call) in node.calls() {
        assert_eq!((&call["topic"], &call["sender"]), (&json!("log.a"), &answer["sender"]));
    }
    assert_eq!(gateway.post(&signal, json!({"topic": "missing"})).await.1["receivers"], 0);
    for bad in [json!({}), json!({"topic": "x.*"}), json!("bad"), json!({"topic": ""})] {
        assert_eq!(gateway.post(&signal, bad).await.0, 400);
    }
}

#[tokio::test]
async fn compositions_call_services_and_the_node_that_asks() {
    let gateway = Gateway::start(config()).await;
    let node = Node::start(|path, call| match path {
        "/fail" => Does::Answer(503, json!("busy")),
        "/lambda" => {
            Does::Answer(200, json!({"lambda": call["data"], "path": call["handler_path"]}))
        }
        _ => echo(path, call),
    })
    .await;
    let id = gateway.register(node.serving(&["echo", "fail"])).await;
    let pipe = json!({"pipe": [{"requests": {"echo": {"m": 1}}}, {"lambda": "lambda"}]});
    let (status, answer) = gateway
        .post(&format!("/request/{id}"), json!({"composition": pipe, "message": {"a": 1}}))
        .await;
    assert_eq!(status, 200);
    assert_eq!(
        answer["messages"][0]["data"],
        json!({"lambda": {"a": 1, "m": 1}, "path": "/lambda"})
    );
    let both = json!({"parallel": [{"requests": {"echo": ""}}, {"requests": {"fail": ""}}]});
    let composition = format!("/composition/{id}");
    let (status, answer) =
        gateway.post(&composition, json!({"composition": both, "data": 7})).await;
    assert_eq!((status, &answer["length"]), (503, &json!(2)));
    let (status, bare) = gateway
        .post(&format!("{composition}?format=data"), json!({"composition": both, "data": 7}))
        .await;
    assert_eq!((status, bare), (503, json!([7, "busy"])));
    assert_eq!(gateway.post(&composition, json!({"data": 7})).await.0, 400);
    let (status, answer) = gateway
        .post(
            &composition,
            json!({"composition": {"pipe": [{"requests": {"echo": {"a": 1}}}]}, "data": [1]}),
        )
        .await;
    assert_eq!(
        (status, answer["messages"][0]["data"].clone()),
        (400, json!("cannot merge an object into an array"))
    );
}
