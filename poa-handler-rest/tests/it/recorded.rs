//! Recorded exchanges of the original server and its agents.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use poa_core::Format;
use serde_json::Value;

use crate::support::{Client, Heard, request, start};

fn lines(text: &str) -> impl Iterator<Item = Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap())
}

#[tokio::test]
async fn every_recorded_exchange_gets_its_status() {
    let server = start().await;
    for exchange in lines(include_str!("../fixtures/poa_http.jsonl")) {
        let name = exchange["name"].as_str().unwrap();
        let mut client = server.client().await;
        // The whole request is written before the response is read, as the recorded clients did.
        client.send(bytes_of(&exchange)).await;
        let has_body = exchange["method"] != "HEAD";
        let answer = final_answer(&mut client, has_body).await;
        assert_eq!(u64::from(answer.status), exchange["status"].as_u64().unwrap(), "{name}");
        assert!(answer.has("content-type: application/json"), "{name}: {}", answer.head);
        match answer.status {
            200 => assert_eq!(answer.body, r#"{"result":"success"}"#, "{name}"),
            405 => assert!(answer.has("allow: POST"), "{name}: {}", answer.head),
            _ => assert!(!answer.code().is_empty(), "{name}"),
        }
        if exchange["original_status"] == exchange["status"]
            && let Some(body) = exchange["response_body"].as_str()
        {
            assert_eq!(answer.body, body, "{name}");
        }
    }
}

async fn final_answer(client: &mut Client, has_body: bool) -> crate::support::Answer {
    let answer = client.answer_with_body(has_body).await;
    if answer.status == 100 { client.answer_with_body(has_body).await } else { answer }
}

/// The request, with tokens that the test's authenticator knows.
fn bytes_of(exchange: &Value) -> Vec<u8> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let body = body_of(exchange);
    let mut head = format!(
        "{} {} HTTP/1.1\r\nhost: x\r\n",
        text(&exchange["method"]),
        text(&exchange["path"])
    );
    let mut chunked = false;
    for header in exchange["headers"].as_array().unwrap() {
        let (name, value) = (text(&header[0]), text(&header[1]));
        chunked |= name == "Transfer-Encoding";
        let value = value.replace("{valid token}", "valid").replace("{expired token}", "expired");
        head += &format!("{name}: {value}\r\n");
    }
    if let (Some(body), false) = (&body, chunked) {
        head += &format!("content-length: {}\r\n", body.len());
    }
    head += "\r\n";
    [head.into_bytes(), body.unwrap_or_default()].concat()
}

fn body_of(exchange: &Value) -> Option<Vec<u8>> {
    match &exchange["body"] {
        Value::Null => None,
        Value::String(text) => Some(text.clone().into_bytes()),
        body if body["b64"].is_string() => {
            Some(BASE64_STANDARD.decode(body["b64"].as_str().unwrap()).unwrap())
        }
        // Of large bodies only the size was recorded.
        body => Some(padded(exchange, body["bytes"].as_u64().unwrap() as usize)),
    }
}

fn padded(exchange: &Value, size: usize) -> Vec<u8> {
    let fields = match exchange["path"].as_str().unwrap() {
        "/data" => r#"{"id":"a","type":"system_metrics","data":{},"pad":""#,
        _ => r#"{"id":"a","pad":""#,
    };
    let mut body = fields.as_bytes().to_vec();
    body.resize(size - 2, b'x');
    body.extend(br#""}"#);
    body
}

#[tokio::test]
async fn bodies_of_the_real_agent_arrive_byte_for_byte() {
    let mut server = start().await;
    let mut client = server.client().await;
    for sent in lines(include_str!("../fixtures/agent_wire.jsonl")) {
        let path = sent["path"].as_str().unwrap();
        // Of the largest bodies only the content was recorded.
        let recorded = sent["body_hex"].as_str().map(hex);
        let body = recorded.unwrap_or_else(|| rmp_serde::to_vec(&sent["body"]).unwrap());
        client.send(request("valid", path, "application/msgpack", &body)).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"result":"success"}"#));
        if path == "/data" {
            let message = server.message().await;
            assert_eq!(message.agent_id().as_str(), sent["body"]["id"].as_str().unwrap());
            assert_eq!(message.data_type().name(), sent["body"]["type"].as_str().unwrap());
            assert_eq!(message.payload().format(), Format::MessagePack);
            let payload = message.payload().bytes();
            assert!(body.windows(payload.len()).any(|part| part == payload), "bytes of the body");
            let read: Value = message.payload().read().unwrap();
            assert_eq!(read, sent["body"]["data"]);
        } else if let Heard::Activity(agent, active) = server.hear().await {
            assert_eq!((agent.as_str(), active), (sent["body"]["id"].as_str().unwrap(), true));
            // Only the first ping makes an agent active; for the next one to do so again, the agent is told to
            // leave.
            let id = serde_json::json!({ "id": agent }).to_string();
            assert_eq!(client.post("/bye", &id).await.status, 200);
            assert!(matches!(server.hear().await, Heard::Activity(_, false)));
        }
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().map(|digit| digit.to_digit(16).unwrap()).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}
