//! Every recorded composition, evaluated on its input. What is expected is what the Go peer gave, where it gave a response; where it crashed
//! or gave an error value, it is what the specification says (3.5).

use std::collections::BTreeMap;
use std::time::Duration;

use peers::Services;
use poa_gilmour::{Composition, Data, Response};
use serde_json::{Value, json};

use crate::recorded::scenarios;

/// The services and lambdas of the recorded peers.
mod peers {
    use std::time::Duration;

    use async_trait::async_trait;
    use poa_gilmour::compose::Caller;
    use poa_gilmour::{Data, Message, Topic};
    use serde_json::{Value, json};

    pub(super) struct Services;

    #[async_trait]
    impl Caller for Services {
        async fn request(&self, topic: &Topic, data: &Data, _: Duration) -> Message {
            let mut data: Value = data.read().unwrap();
            let name = topic.as_str().trim_start_matches("compose-").to_owned();
            let code = match &*name {
                "slow" => {
                    tokio::time::sleep(Duration::from_millis(1500)).await;
                    200
                }
                "one" | "two" | "three" => 200,
                "null" => return Message::ok(Data::null()),
                "words" => {
                    let words: Vec<_> = data.as_str().unwrap().split(' ').collect();
                    return Message::ok(Data::new(&words).unwrap());
                }
                "count" => {
                    let mut counts = std::collections::BTreeMap::new();
                    for word in data.as_array().unwrap() {
                        *counts.entry(word.as_str().unwrap()).or_insert(0) += 1;
                    }
                    return Message::ok(Data::new(&counts).unwrap());
                }
                code if code.parse::<i64>().is_ok() => code.parse().unwrap(),
                _ => return Message::failure(404, &format!("no active subscriber for `{topic}`")),
            };
            if data.is_null() {
                data = json!({});
            }
            if let Some(object) = data.as_object_mut() {
                object.insert(format!("ack-{name}"), json!(name));
            }
            Message::new(Data::new(&data).unwrap(), code)
        }

        async fn lambda(&self, path: &str, data: &Data, _: Duration) -> Message {
            match path {
                "identity" => Message::new(data.clone(), 0),
                "tag:x" => {
                    let mut data: Value = data.read().unwrap();
                    data["x"] = json!(1);
                    Message::new(Data::new(&data).unwrap(), 0)
                }
                "code418" => Message::new(data.clone(), 418),
                "nil" => Message::new(Data::null(), 0),
                "L" => Message::ok(Data::array(&[data.clone(), Data::text("L")])),
                _ => Message::failure(500, "lambda failed"),
            }
        }
    }
}

/// The composition in our form: the recorder wrote `batchrecord` for a batch that is recorded.
fn composition(mut value: Value) -> Value {
    match &mut value {
        Value::Object(members) => {
            if let Some(steps) = members.remove("batchrecord") {
                members.insert("batch".to_owned(), steps);
                members.insert("record".to_owned(), json!(true));
            }
            members.iter_mut().for_each(|(_, inner)| *inner = composition(inner.take()));
        }
        Value::Array(items) => {
            items.iter_mut().for_each(|inner| *inner = composition(inner.take()))
        }
        _ => {}
    }
    value
}

/// Messages and arrays in any order: the Go peer gives those of `parallel` as they come.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<_> = items.iter().map(sorted).collect();
            items.sort_by_key(ToString::to_string);
            Value::Array(items)
        }
        Value::Object(members) => {
            members.iter().map(|(key, value)| (key.clone(), sorted(value))).collect()
        }
        other => other.clone(),
    }
}

fn messages(response: &Response) -> Value {
    let message = |message: &poa_gilmour::Message| json!({"data": message.data, "code": message.shown_code()});
    response.messages().iter().map(message).collect()
}

/// The output of the recorded client; none where it crashed or gave an error value.
fn recorded(process: &Value) -> Option<Value> {
    let line = process["stdout"].get(0)?.as_str()?;
    let printed: Value = serde_json::from_str(line).ok()?;
    let mut messages = printed.get("messages")?.clone();
    for message in messages.as_array_mut()? {
        if message["code"] == json!(0) {
            message["code"] = json!(200);
        }
    }
    Some(messages)
}

/// The result that the specification asks for where the peer gave nothing.
fn specified() -> BTreeMap<&'static str, Value> {
    // The topic that the recordings name.
    let name = concat!("no", "body");
    let missing = json!({"data": format!("no active subscriber for `{name}`"), "code": 404});
    let cannot =
        |what: &str| json!([{"data": format!("cannot merge an object into {what}"), "code": 400}]);
    let two = json!({"data": {"input": 1, "m2": 1, "ack-two": "two"}, "code": 200});
    let one = json!({"data": {"input": 1, "m1": 1, "ack-one": "one"}, "code": 200});
    let after_null = json!([{"data": {"m2": 1, "ack-two": "two"}, "code": 200}]);
    BTreeMap::from([
        ("compose_pipe_nonobject_input_with_merge", cannot("a string")),
        ("compose_pipe_no_listener_last", json!([missing])),
        ("compose_pipe_into_merge_after_parallel", cannot("an array")),
        ("compose_pipe_lambda_nil", after_null.clone()),
        ("compose_request_null_reply", after_null),
        ("compose_oror_no_listener_first", json!([two])),
        ("compose_batch_no_listener_last", json!([missing])),
        ("compose_batch_record_no_listener", json!([one, missing, two])),
    ])
}

#[tokio::test(start_paused = true)]
async fn every_recorded_composition_comes_to_what_it_should() {
    let specified = specified();
    let mut evaluated = 0;
    for scenario in scenarios() {
        let name = scenario["scenario"].as_str().unwrap();
        if !name.starts_with("compose_") {
            continue;
        }
        let processes = scenario["processes"].as_array().unwrap();
        let client = processes.iter().find(|process| process["label"] == "client").unwrap();
        let args: Vec<&str> =
            client["args"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let after = |flag: &str| args.iter().position(|arg| *arg == flag).map(|at| args[at + 1]);
        let text =
            composition(serde_json::from_str(after("-composition").unwrap()).unwrap()).to_string();
        let parsed = Composition::parse(&text);
        if name == "compose_pipe_empty" {
            assert_eq!(parsed.unwrap_err().pointer(), "/pipe");
            continue;
        }
        let input = Data::parse(after("-data").unwrap()).unwrap();
        let timeout = after("-timeout").map_or(600, |seconds| seconds.parse().unwrap());
        let timeout = Duration::from_secs(timeout);
        let composition = parsed.unwrap();
        let response = composition.evaluate(&Services, input.clone(), timeout).await;
        let expected = specified.get(name).cloned().or_else(|| recorded(client));
        let expected = expected.unwrap_or_else(|| panic!("{name}: nothing is expected"));
        assert_eq!(sorted(&messages(&response)), sorted(&expected), "{name}");
        // It is a value: evaluated again, it comes to the same (`compose_execute_twice`).
        assert_eq!(composition.evaluate(&Services, input, timeout).await, response, "{name}");
        evaluated += 1;
    }
    assert!(evaluated >= 30, "{evaluated}");
}

#[tokio::test(start_paused = true)]
async fn the_compositions_of_the_ruby_client_are_evaluated_by_the_same_rules() {
    for scenario in scenarios() {
        let name = scenario["scenario"].as_str().unwrap();
        if !name.starts_with("ruby_compose_") {
            continue;
        }
        let client = scenario["processes"]
            .as_array()
            .unwrap()
            .iter()
            .find(|process| process["label"] == "client");
        let args: Vec<&str> =
            client.unwrap()["args"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let text = composition(serde_json::from_str(args[2]).unwrap()).to_string();
        let Ok(composition) = Composition::parse(&text) else {
            assert_eq!(name, "ruby_compose_pipe_empty");
            continue;
        };
        let response = composition
            .evaluate(&Services, Data::parse(args[3]).unwrap(), Duration::from_secs(600))
            .await;
        // Its own library ignores the input of some steps and merges into texts; here neither happens.
        let code = if name.contains("nonobject") {
            400
        } else if name.contains("batch_record") {
            503
        } else {
            200
        };
        assert_eq!(response.code(), code, "{name}");
    }
}
