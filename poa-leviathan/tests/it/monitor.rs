//! The protocol of the monitor, frame by frame. The vectors of it run over a real WebSocket, in the handler.

use std::collections::BTreeSet;

use poa_leviathan::Model;
use poa_leviathan::monitor::Monitor;
use serde_json::{Value, json};

use crate::support::{cen, cens, cins, container};

fn model() -> Model {
    let mut model = Model::default();
    model.import_cens(&cens(&[("cen1", &["c1", "c2"])])).unwrap();
    model.import_cins(&cins(&[("cin1", &["cen1"])]), &BTreeSet::new()).unwrap();
    model
}

fn ask(monitor: &mut Monitor, model: &Model, request: &Value) -> Value {
    serde_json::from_str(&monitor.text(request.to_string().as_bytes(), model)).unwrap()
}

fn start(more: Value) -> Value {
    json!({"type": "start", "sequence": [1], "monitor": "CIN", "parameters": more})
}

fn events(monitor: &mut Monitor, model: &Model) -> Vec<Value> {
    monitor.changed(model).iter().map(|event| serde_json::from_str(event).unwrap()).collect()
}

#[test]
fn a_destruction_is_told_if_asked_for() {
    let mut model = model();
    let (mut quiet, mut full) = (Monitor::new(), Monitor::new());
    ask(&mut quiet, &model, &start(json!({"cinID": "cin1"})));
    ask(&mut full, &model, &start(json!({"cinID": "cin1", "events": ["create", "destroy"]})));
    model.add_member(&cen("cen1"), &container("c3")).unwrap();
    model.remove_member(&cen("cen1"), &container("c2")).unwrap();
    let kinds: Vec<Value> =
        events(&mut full, &model).iter().map(|event| event["event"].clone()).collect();
    assert_eq!(kinds, ["destroy", "create"]);
    let told = events(&mut quiet, &model);
    assert_eq!(told.len(), 1);
    assert_eq!(
        told[0]["message"],
        json!([{"containerID": "c3", "ipaddress": "10.10.0.12", "tag": null}])
    );
    assert_eq!(events(&mut full, &model), Vec::<Value>::new());
}

#[test]
fn a_tag_lets_a_container_in() {
    let mut model = model();
    let mut monitor = Monitor::new();
    let response =
        ask(&mut monitor, &model, &start(json!({"cinID": "cin1", "container_tag": "blue"})));
    assert_eq!(response["response"]["state"], json!([]));
    model.set_tag(&container("c1"), Some("blue".to_owned())).unwrap();
    let told = events(&mut monitor, &model);
    assert_eq!(told[0]["message"][0]["containerID"], "c1");
}

#[test]
fn the_cen_below_is_a_name_of_old_clients() {
    let (model, mut monitor) = (model(), Monitor::new());
    let response = ask(&mut monitor, &model, &start(json!({"cinID": "cen1"})));
    assert_eq!(response["type"], "response");
    assert_eq!(response["sequence"], json!([1]));
}

#[test]
fn whatever_is_wrong_is_an_error_frame() {
    let (model, mut monitor) = (model(), Monitor::new());
    let mut message = |frame: &str| {
        let answer: Value = serde_json::from_str(&monitor.text(frame.as_bytes(), &model)).unwrap();
        assert_eq!(answer["type"], "error", "{frame}");
        answer["response"]["message"].as_str().unwrap().to_owned()
    };
    for frame in [
        "[]",
        "1",
        "null",
        "{}",
        r#"{"sequence":1}"#,
        r#"{"sequence":1,"type":"start","monitor":"CIN"}"#,
    ] {
        assert_eq!(message(frame), "invalid request", "{frame}");
    }
    let odd = r#"{"sequence":1,"type":"start","monitor":"CIN","parameters":{"cinID":"cin1","events":["x"]}}"#;
    assert_eq!(message(odd), "invalid request");
    assert!(message("\u{0}").starts_with("invalid JSON"));
}
