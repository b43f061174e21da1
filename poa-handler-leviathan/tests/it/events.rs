//! Changes as messages.

use serde_json::{Value, json};

use crate::support::{Subject, readme};

fn told(subject: &Subject) -> Vec<(String, Value)> {
    let record = subject.recording.record();
    let messages = record.messages();
    let told = messages.map(|message| {
        let body: Value = serde_json::from_str(&message.payload().to_json().unwrap()).unwrap();
        (message.agent_id().to_string(), body)
    });
    told.collect()
}

#[tokio::test]
async fn every_change_is_a_message() {
    let subject = Subject::new("events = \"system_metrics\"").await;
    let document = json!({"cenList": [{"cenID": "a", "containerIDs": ["c1", "c2"]}]});
    assert_eq!(subject.post("/cen/import", &document).await.status, 204);
    assert_eq!(subject.post("/cin/import", &json!({"n": ["a"]})).await.status, 204);
    subject.done("/cen/make", &["a"]).await;
    subject.done("/cin/make", &["n"]).await;
    assert_eq!(subject.delete("/host/host1/c2/a").await.status, 204);
    subject.done("/cin/destroy", &["n"]).await;
    subject.done("/cen/destroy", &["a"]).await;
    let event = |agent: &str, body: Value| (agent.to_owned(), body);
    let added = |id: &str| {
        event(id, json!({"type": "container_added", "contID": id, "cenID": "a", "hostID": "host1"}))
    };
    let expected = vec![
        added("c1"),
        added("c2"),
        event("host1", json!({"type": "cen_made", "cenID": "a", "hostID": "host1"})),
        event("host1", json!({"type": "cin_made", "cinID": "n", "hostID": "host1"})),
        event(
            "c2",
            json!({"type": "container_removed", "contID": "c2", "cenID": "a", "hostID": "host1"}),
        ),
        event("host1", json!({"type": "cin_destroyed", "cinID": "n", "hostID": "host1"})),
        event("host1", json!({"type": "cen_destroyed", "cenID": "a", "hostID": "host1"})),
    ];
    assert_eq!(told(&subject), expected);
}

#[tokio::test]
async fn without_a_data_type_there_are_no_messages() {
    let subject = Subject::new("").await;
    assert_eq!(subject.post("/cen/import", &readme()).await.status, 204);
    assert_eq!(told(&subject), []);
}

#[tokio::test]
async fn a_type_that_is_not_declared_is_refused() {
    let config = crate::support::config("events = \"nonsense\"");
    let directory = tempfile::tempdir().unwrap();
    let types = poa_core::DataTypes::new(["system_metrics"]).unwrap();
    let cx = poa_core::BuildContext::detached("networks", directory.path()).with_data_types(types);
    let built = <poa_handler_leviathan::Networks as poa_core::Plugin>::build(config, &cx).await;
    let error = built.expect_err("refused").to_string();
    assert!(error.contains("`nonsense` is not a data type; add it to `metrics`"), "{error}");
}
