//! The monitor over a real WebSocket: the vectors.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio_websockets::Message;

use crate::support::{Subject, Watcher, soon, vectors};

/// A CIN named cen1 over cen1, with the members of a vector at the addresses it says: c13 and c14 come in between and leave again.
async fn prepared(vector: &Value) -> Subject {
    let subject = Subject::new("").await;
    if vector["state"].get("members").is_none() {
        return subject;
    }
    let document =
        json!({"cenList": [{"cenID": "cen1", "containerIDs": ["c1", "c2", "c13", "c14"]}]});
    assert_eq!(subject.post("/cen/import", &document).await.status, 204);
    assert_eq!(subject.post("/cin/import", &json!({"cen1": ["cen1"]})).await.status, 204);
    for gone in ["c13", "c14"] {
        assert_eq!(subject.delete(&format!("/host/host1/{gone}/cen1")).await.status, 204);
    }
    for (container, tag) in vector["state"]["tags"].as_object().into_iter().flatten() {
        tagged(&subject, container, tag).await;
    }
    subject
}

async fn tagged(subject: &Subject, container: &str, tag: &Value) {
    let headers = [("content-type", "application/json")];
    let body = json!({"tag": tag}).to_string();
    let reply = subject.send("PUT", &format!("/host/host1/{container}"), &headers, &body).await;
    assert_eq!(reply.status, 200);
}

/// Performs the change of a vector.
async fn act(subject: &Subject, what: &str) {
    match what {
        "c13 gets 10.10.0.12" => {
            // The smallest free number is 2; c14 takes it, so that c13 gets the address of the vector.
            assert_eq!(subject.put("/host/host1/a14/cen1").await.status, 200);
            assert_eq!(subject.put("/host/host1/c13/cen1").await.status, 200);
        }
        "c2 loses 10.10.0.10" => {
            assert_eq!(subject.delete("/host/host1/c2/cen1").await.status, 204);
        }
        "tag of c1 := blue" => tagged(subject, "c1", &json!("blue")).await,
        other => panic!("unknown: {other}"),
    }
}

fn vector(id: &str) -> Value {
    vectors("websocket").into_iter().find(|vector| vector["id"] == id).unwrap()
}

const START: &str =
    r#"{"type":"start","sequence":"1","monitor":"CIN","parameters":{"cinID":"cen1"}}"#;

async fn started(subject: &Subject) -> (Watcher, String, Value) {
    let mut watcher = subject.watch().await;
    watcher.send(START).await;
    let answer = watcher.next().await;
    let id = answer["response"]["monitorID"].as_str().unwrap().to_owned();
    (watcher, id, answer)
}

#[tokio::test]
async fn m02_a_new_address_is_one_event() {
    let vector = vector("M02");
    let subject = prepared(&vector).await;
    let (mut watcher, id, answer) = started(&subject).await;
    let steps = vector["original"].to_string().replace("{M1}", &id);
    let steps: Value = serde_json::from_str(&steps).unwrap();
    assert_eq!(answer, steps[1]["recv"]);
    act(&subject, "c13 gets 10.10.0.12").await;
    let first = watcher.next().await;
    assert_eq!(first["message"][0]["containerID"], "a14");
    assert_eq!(watcher.next().await, steps[3]["recv"]);
}

#[tokio::test]
async fn m03_and_m04_say_nothing() {
    for id in ["M03", "M04"] {
        let vector = vector(id);
        let subject = prepared(&vector).await;
        let (mut watcher, _, _) = started(&subject).await;
        act(&subject, vector["original"][2]["do"].as_str().unwrap()).await;
        watcher.expect_silence().await;
    }
}

#[tokio::test]
async fn m05_a_monitor_is_replaced_under_its_id() {
    let vector = vector("M05");
    let subject = prepared(&vector).await;
    let (mut watcher, id, _) = started(&subject).await;
    let steps: Value =
        serde_json::from_str(&vector["original"].to_string().replace("{M1}", &id)).unwrap();
    assert_eq!(watcher.ask(&steps[2]["send"]).await, steps[3]["recv"]);
}

#[tokio::test]
async fn m07_an_unknown_monitor_is_an_error() {
    let vector = vector("M07");
    let subject = prepared(&vector).await;
    let (mut watcher, _, _) = started(&subject).await;
    let answer = watcher.ask(&vector["original"][2]["send"]).await;
    assert_eq!(answer, vector["sane"][0]["recv"]);
}

#[tokio::test]
async fn m08_a_second_start_replaces_the_first() {
    let vector = vector("M08");
    let subject = prepared(&vector).await;
    let (mut watcher, id, _) = started(&subject).await;
    let second = watcher.ask(&vector["original"][2]["send"]).await;
    let second_id = second["response"]["monitorID"].as_str().unwrap();
    assert_ne!(second_id, id);
    assert_eq!(subject.put("/host/host1/c13/cen1").await.status, 200);
    assert_eq!(watcher.next().await["monitorID"], second_id);
    watcher.expect_silence().await;
}

#[tokio::test]
async fn m09_what_is_not_supported_is_an_error() {
    let vector = vector("M09");
    let subject = prepared(&vector).await;
    let mut watcher = subject.watch().await;
    for pair in vector["original"].as_array().unwrap().chunks(2) {
        assert_eq!(watcher.ask(&pair[0]["send"]).await, pair[1]["recv"]);
    }
}

#[tokio::test]
async fn m10_what_is_not_json_is_an_error_and_the_connection_stays() {
    let vector = vector("M10");
    let subject = prepared(&vector).await;
    let mut watcher = subject.watch().await;
    watcher.send(vector["original"][0]["send_raw"].as_str().unwrap()).await;
    let answer = watcher.next().await;
    assert_eq!((&answer["type"], &answer["sequence"]), (&json!("error"), &Value::Null));
    assert!(answer["response"]["message"].as_str().unwrap().starts_with("invalid JSON"));
    watcher.expect_silence().await;
}

/// The mistakes of M11 to M14, whose connection stays, and M06: a tag lets a container in.
#[tokio::test]
async fn mistakes_are_error_frames_and_tags_let_in() {
    let subject = prepared(&vector("M02")).await;
    let mut watcher = subject.watch().await;
    let start = |sequence: Value, parameters: Value| json!({"type": "start", "sequence": sequence, "monitor": "CIN", "parameters": parameters});
    for (request, sequence) in [
        (json!([1, 2]), Value::Null),
        (json!("start"), Value::Null),
        (json!({"type": "start", "monitor": "CIN", "parameters": {"cinID": "cen1"}}), Value::Null),
        (start(json!(7), json!({})), json!(7)),
        (start(json!({"a": 1}), json!({"cinID": 5})), json!({"a": 1})),
        (start(json!(null), json!({"cinID": "cen1", "container_tag": 1})), Value::Null),
        (start(json!("9"), json!({"cinID": "cen1", "events": ["other"]})), json!("9")),
    ] {
        let answer = watcher.ask(&request).await;
        let expected = json!({"type": "error", "sequence": sequence, "response": {"message": "invalid request"}});
        assert_eq!(answer, expected, "{request}");
    }
    let answer =
        watcher.ask(&start(json!([1]), json!({"cinID": "cen1", "container_tag": "blue"}))).await;
    assert_eq!((&answer["sequence"], &answer["response"]["state"]), (&json!([1]), &json!([])));
    tagged(&subject, "c1", &json!("blue")).await;
    let event = watcher.next().await;
    assert_eq!(
        (&event["event"], &event["message"][0]["containerID"]),
        (&json!("create"), &json!("c1"))
    );
    assert_eq!(event["message"][0]["tag"], "blue");
}

#[tokio::test]
async fn m15_an_unknown_network_is_an_error() {
    let vector = vector("M15");
    let subject = prepared(&vector).await;
    let mut watcher = subject.watch().await;
    assert_eq!(watcher.ask(&vector["original"][0]["send"]).await, vector["sane"][0]["recv"]);
}

#[tokio::test]
async fn m17_binary_is_ignored_and_pings_are_answered() {
    let subject = Subject::new("").await;
    let mut watcher = subject.watch().await;
    soon(watcher.0.send(Message::binary("hello".as_bytes().to_vec()))).await.unwrap();
    soon(watcher.0.send(Message::ping("ping".as_bytes().to_vec()))).await.unwrap();
    loop {
        let message = soon(watcher.0.next()).await.unwrap().unwrap();
        if message.is_pong() {
            assert_eq!(&message.into_payload()[..], b"ping");
            break;
        }
        assert!(message.is_ping(), "{message:?}");
    }
    watcher.expect_silence().await;
}

#[tokio::test]
async fn a_token_comes_as_subprotocol() {
    let subject = Subject::new("token = \"correct-horse\"").await;
    assert!(subject.join(&[("sec-websocket-protocol", "bearer.wrong-horse")]).await.is_err());
    assert!(
        subject
            .join(&[("sec-websocket-protocol", "leviathan, bearer.correct-horse")])
            .await
            .is_ok()
    );
}

/// Each vector has a test above: this fails for one that has none.
#[test]
fn every_vector_is_run() {
    let vectors = vectors("websocket");
    let ids: Vec<_> = vectors.iter().map(|vector| vector["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["M02", "M03", "M04", "M05", "M07", "M08", "M09", "M10", "M15", "M17"]);
}
