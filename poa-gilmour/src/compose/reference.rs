//! Any composition, compared with a second evaluator.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::tests::{answer, m, run_on};
use super::*;

/// A second statement of the rules, on plain values, without time, tasks or calls.
fn reference(step: &Value, input: &Value) -> Vec<(Value, i64)> {
    let object = step.as_object().unwrap();
    let record = object.get("record") == Some(&json!(true));
    let (key, value) = object.iter().find(|(key, _)| *key != "record").unwrap();
    let code = |response: &[(Value, i64)]| response.iter().map(|one| one.1).max().unwrap();
    let inflate = |response: Vec<(Value, i64)>| match &response[..] {
        [one] => one.clone(),
        several => (several.iter().map(|one| one.0.clone()).collect(), code(several)),
    };
    if key == "requests" {
        let (topic, merge) = value.as_object().unwrap().iter().next().unwrap();
        return vec![reference_request(topic, merge, input)];
    }
    let steps = value.as_array().unwrap();
    let mut last = vec![];
    let mut all = vec![];
    let mut input = input.clone();
    for step in steps {
        last = reference(step, &input);
        all.push(inflate(last.clone()));
        let success = code(&last) == 200;
        match key.as_str() {
            "pipe" if success => input = inflate(last.clone()).0,
            "pipe" => break,
            "andand" if !success => break,
            "oror" if success => break,
            _ => {}
        }
    }
    if key == "parallel" || record { all } else { last }
}

fn reference_request(topic: &str, merge: &Value, input: &Value) -> (Value, i64) {
    let mut data = input.clone();
    if let Some(merge) = merge.as_object() {
        if data.is_null() {
            data = json!({});
        }
        let what = match &data {
            Value::Object(_) => None,
            Value::Array(_) => Some("an array"),
            Value::String(_) => Some("a string"),
            _ => Some("another value"),
        };
        if let Some(what) = what {
            return (json!(format!("cannot merge an object into {what}")), 400);
        }
        let data = data.as_object_mut().unwrap();
        merge.iter().for_each(|(key, value)| drop(data.insert(key.clone(), value.clone())));
    }
    let message = answer(topic.trim_start_matches("compose-"), data);
    (message.data.read().unwrap(), message.code)
}

fn any_step() -> impl Strategy<Value = Value> {
    let topic = prop::sample::select(vec!["one", "two", "201", "404", "503", "null", "missing"]);
    let merge =
        prop::sample::select(vec![json!(""), json!({}), json!({"m": 1}), json!({"input": 2})]);
    let leaf = (topic, merge).prop_map(|(topic, merge)| m(topic, merge));
    leaf.prop_recursive(4, 24, 4, |inner| {
        let operator =
            prop::sample::select(vec!["pipe", "andand", "oror", "batch", "record", "parallel"]);
        (operator, prop::collection::vec(inner, 1..4)).prop_map(
            |(operator, steps)| match operator {
                "record" => json!({"batch": steps, "record": true}),
                operator => json!({operator: steps}),
            },
        )
    })
}

proptest! {
    #[test]
    fn agrees_with_the_reference(step in any_step(), input in prop::sample::select(
        vec![json!({"input": 1}), Value::Null, json!([1, 2]), json!("text")]
    )) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (messages, ..) = runtime.block_on(run_on(step.clone(), input.clone()));
        prop_assert_eq!(messages, reference(&step, &input), "{}", step);
    }

    #[test]
    fn no_text_does_harm(text in r#"[\[\]{}":,a-z0-9]{0,64}"#) {
        let _ = Composition::parse(&text);
    }
}
