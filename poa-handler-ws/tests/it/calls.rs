//! Every call and every refusal, in both formats.

use std::time::Duration;

use poa_core::{Ack, Format};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::client::{Client, Frame, data, frame, ping, refused, success};
use crate::support::{Heard, config, start, start_with};

/// Both answers, which must be the same.
async fn call(client: &mut Client, call: &Value) -> Value {
    let answer = client.call(call).await;
    assert_eq!(client.call_packed(call).await, answer, "{call}");
    answer
}

#[tokio::test]
async fn every_call_in_both_formats() {
    let mut server = start().await;
    let mut client = server.client().await;
    assert_eq!(call(&mut client, &ping("a")).await, success(&Value::Null));
    server.hears_of("a", true).await;
    let session = json!({"call": "session", "user": "alice", "password": "right", "ref": "s"});
    assert_eq!(
        call(&mut client, &session).await,
        json!({"result": "success", "ref": "s", "payload": {"token": "of-alice"}})
    );
    let metric = data("a", 7);
    assert_eq!(call(&mut client, &metric).await, success(&json!(7)));
    let sent = [
        (Format::Json, metric["data"].to_string().into_bytes()),
        (Format::MessagePack, rmp_serde::to_vec(&metric["data"]).unwrap()),
    ];
    for (format, bytes) in sent {
        let message = server.message().await;
        assert_eq!(
            (message.agent_id().as_str(), message.data_type().name()),
            ("a", "system_metrics")
        );
        assert_eq!((message.payload().format(), &**message.payload().bytes()), (format, &*bytes));
    }
    let bye = json!({"call": "bye", "id": "a", "ref": [1, {"x": null}]});
    assert_eq!(call(&mut client, &bye).await, success(&bye["ref"]));
    server.hears_of("a", false).await;
    for line in [
        r#"poa_handler_requests_total{handler="ws",call="upgrade",status="101"} 1"#,
        r#"poa_handler_requests_total{handler="ws",call="session",status="200"} 2"#,
        r#"poa_handler_requests_total{handler="ws",call="data",status="200"} 2"#,
        r#"poa_handler_request_seconds_count{handler="ws",call="data"} 2"#,
    ] {
        assert!(server.counts(line), "{line}");
    }
}

#[tokio::test]
async fn the_reference_comes_back_byte_for_byte() {
    let server = start().await;
    let mut client = server.client().await;
    client.text(r#"{"ref": { "n":1e400,"s":"\u0041" } , "call":"ping","id":"a"}"#).await;
    let answer = r#"{"result":"success","ref":{ "n":1e400,"s":"\u0041" },"payload":{}}"#;
    assert_eq!(client.frame().await, Frame::Text(answer.to_owned()));
}

#[tokio::test]
async fn a_reference_that_is_too_long_is_neither_kept_nor_returned() {
    let server = start().await;
    let mut client = server.client().await;
    let mut long = ping("a");
    long["ref"] = "x".repeat(7_900_000).into();
    let answer = call(&mut client, &long).await;
    assert_eq!((refused(&answer), &answer["ref"]), ((422, "invalid_field"), &Value::Null));
    long["ref"] = "x".repeat(1000).into();
    assert_eq!(call(&mut client, &long).await, success(&long["ref"]));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_late_is_503_and_later_ones_keep_their_order() {
    let slow = config(|config| config.limits.request_timeout = Duration::from_secs(10).into());
    let server = start_with(slow, |host| host.ack(Ack::Delivered), 64 << 20).await;
    server.open.send_replace(false);
    let mut client = server.client().await;
    let begin = Instant::now();
    client.text(&data("a", 1).to_string()).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    client.text(&data("a", 2).to_string()).await;
    client.text(&ping("a").to_string()).await;
    for (reference, waited) in [(1, 10), (2, 15)] {
        let answer = client.answer().await;
        assert_eq!((refused(&answer), &answer["ref"]), ((503, "timeout"), &json!(reference)));
        assert!(answer["payload"]["retry_after"].as_u64().unwrap() > 0);
        assert_eq!(begin.elapsed().as_secs(), waited, "{answer}");
    }
    assert_eq!(client.answer().await, success(&Value::Null));
    // It was accepted all the same.
    server.open.send_replace(true);
    assert_eq!(client.call(&data("a", 3)).await, success(&json!(3)));
}

#[tokio::test]
async fn every_refusal_has_its_status_and_its_code() {
    let server = start().await;
    let mut client = server.client().await;
    let long = "x".repeat(257);
    for (question, status, code) in [
        (json!([]), 422, "not_an_object"),
        (json!("ping"), 422, "not_an_object"),
        (json!({}), 422, "missing_field"),
        (json!({"call": "pong", "id": "a"}), 422, "unknown_call"),
        (json!({"call": 1}), 422, "wrong_type"),
        (json!({"call": "ping"}), 422, "missing_field"),
        (json!({"call": "ping", "id": ""}), 422, "invalid_field"),
        (json!({"call": "ping", "id": long}), 422, "invalid_field"),
        (json!({"call": "bye", "id": 1}), 422, "wrong_type"),
        (json!({"call": "data", "id": "a", "data": {}}), 422, "missing_field"),
        (
            json!({"call": "data", "id": "a", "type": "system_metric", "data": {}}),
            422,
            "unknown_type",
        ),
        (
            json!({"call": "data", "id": "a", "type": "system_metrics", "data": []}),
            422,
            "wrong_type",
        ),
        (
            json!({"call": "data", "id": "a", "type": "system_metrics", "data": {}, "idempotency_key": ""}),
            422,
            "invalid_field",
        ),
        (json!({"call": "session", "user": "alice"}), 422, "missing_field"),
        (json!({"call": "session", "user": "alice", "password": "wrong"}), 401, "unauthorized"),
    ] {
        let answer = call(&mut client, &question).await;
        assert_eq!(refused(&answer), (status, code), "{question}");
        assert!(answer["payload"]["message"].is_string(), "{answer}");
    }
    client.text("{\"call\":").await;
    assert_eq!(refused(&client.answer().await), (400, "malformed_body"));
    client.write(&frame(0x82, b"\xc1")).await;
    let Frame::Binary(bytes) = client.frame().await else { panic!("a binary frame") };
    let answer: Value = rmp_serde::from_slice(&bytes).unwrap();
    assert_eq!(refused(&answer), (400, "malformed_body"));
    assert_eq!(call(&mut client, &ping("a")).await, success(&Value::Null));
}

#[tokio::test]
async fn a_call_sent_again_with_its_key_is_accepted_once() {
    let mut server = start().await;
    for _ in 0..3 {
        let mut client = server.client().await;
        let mut call = data("a", 1);
        call["idempotency_key"] = "k1".into();
        assert_eq!(client.call(&call).await, success(&json!(1)));
        // The same call is the same bytes.
        assert_eq!(refused(&client.call_packed(&call).await), (422, "idempotency_key_reused"));
    }
    let mut client = server.client().await;
    client.call(&data("a", 2)).await;
    assert_eq!(server.message().await.payload().bytes().as_ref(), br#"{"n":1}"#);
    assert_eq!(server.message().await.payload().bytes().as_ref(), br#"{"n":2}"#);
}

#[tokio::test]
async fn a_full_backlog_is_refused_with_a_time_to_retry() {
    let server = start_with(config(|_| ()), |host| host, 2_000).await;
    server.open.send_replace(false);
    let mut client = server.client().await;
    let mut answers = Vec::new();
    for number in 0..100 {
        answers.push(client.call(&data("a", number)).await);
    }
    let full = answers.last().unwrap();
    assert_eq!(refused(full), (503, "backlog_full"));
    assert!(full["payload"]["retry_after"].as_u64().unwrap() > 0);
    drop(client);
    let taken = answers.iter().filter(|answer| answer["result"] == "success").count();
    let delivered = server.stop().await;
    let delivered = delivered.iter().filter(|heard| matches!(heard, Heard::Message(_))).count();
    assert!(taken > 0 && taken == delivered, "{taken} taken, {delivered} delivered");
}
