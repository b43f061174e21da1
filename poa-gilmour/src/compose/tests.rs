use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::*;
use crate::{Response, TIMED_OUT};

pub(super) const LONG: Duration = Duration::from_secs(3600);

/// The services of the vectors: `one`, `two`, `three` acknowledge, `404` and `503` fail, `slow` takes ten seconds, `words` and `count` count.
#[derive(Default)]
pub(super) struct Services {
    called: Mutex<Vec<String>>,
}

#[async_trait]
impl Caller for Services {
    async fn request(&self, topic: &Topic, data: &Data, _: Duration) -> Message {
        let name = topic.as_str().trim_start_matches("compose-").to_owned();
        self.called.lock().push(name.clone());
        if name == "slow" {
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        answer(&name, data.read().unwrap())
    }

    async fn lambda(&self, path: &str, data: &Data, _: Duration) -> Message {
        match path {
            "identity" => Message::new(data.clone(), 0),
            _ => Message::failure(502, "no such path"),
        }
    }
}

pub(super) fn answer(name: &str, mut data: Value) -> Message {
    let code = match name {
        "one" | "two" | "three" | "slow" => 200,
        "201" | "404" | "503" => name.parse().unwrap(),
        "null" => return Message::ok(Data::null()),
        "words" => {
            let words: Vec<_> = data.as_str().unwrap().split(' ').collect();
            return Message::ok(Data::new(&words).unwrap());
        }
        "count" => {
            let mut counts = BTreeMap::<String, u32>::new();
            for word in data.as_array().unwrap() {
                *counts.entry(word.as_str().unwrap().to_owned()).or_default() += 1;
            }
            return Message::ok(Data::new(&counts).unwrap());
        }
        _ => return Message::failure(404, &format!("no active subscriber for `{name}`")),
    };
    if let Some(object) = data.as_object_mut() {
        object.insert(format!("ack-{name}"), json!(name));
    }
    Message::new(Data::new(&data).unwrap(), code)
}

/// Messages, code, length, and the services in the order they were called.
pub(super) type Outcome = (Vec<(Value, i64)>, i64, usize, Vec<String>);

pub(super) async fn run_on(composition: Value, input: Value) -> Outcome {
    let services = Services::default();
    let composition = Composition::parse(&composition.to_string()).unwrap();
    let response = composition.evaluate(&services, Data::new(&input).unwrap(), LONG).await;
    let called = services.called.lock().clone();
    outcome(&response, called)
}

fn outcome(response: &Response, called: Vec<String>) -> Outcome {
    let message = |message: &Message| (message.data.read().unwrap(), message.shown_code());
    let messages: Vec<_> = response.messages().iter().map(message).collect();
    let length = messages.len();
    (messages, response.code(), length, called)
}

async fn run(composition: Value) -> Outcome {
    run_on(composition, json!({"input": 1})).await
}

pub(super) fn r(topic: &str) -> Value {
    json!({"requests": {format!("compose-{topic}"): ""}})
}

pub(super) fn m(topic: &str, merge: Value) -> Value {
    json!({"requests": {format!("compose-{topic}"): merge}})
}

/// `{"input": 1}` with these acknowledgements.
fn acks(names: &[&str]) -> Value {
    let mut data = json!({"input": 1});
    for name in names {
        data[format!("ack-{name}")] = json!(name);
    }
    data
}

#[tokio::test]
async fn pipes_are_those_of_the_vectors() {
    let (messages, code, length, _) =
        run(json!({"pipe": [m("one", json!({"m1": 1})), m("two", json!({"m2": 1}))]})).await;
    let mut all = acks(&["one", "two"]);
    (all["m1"], all["m2"]) = (json!(1), json!(1));
    assert_eq!((messages, code, length), (vec![(all, 200)], 200, 1));

    let (messages, code, length, called) =
        run(json!({"pipe": [r("one"), r("503"), r("two")]})).await;
    assert_eq!((messages, code, length), (vec![(acks(&["one", "503"]), 503)], 503, 1));
    assert_eq!(called, ["one", "503"]);

    let both = json!({"parallel": [r("two"), r("three")]});
    let (messages, code, length, _) = run(json!({"pipe": [r("one"), both.clone()]})).await;
    let branches = [acks(&["one", "two"]), acks(&["one", "three"])];
    assert_eq!(messages, branches.clone().map(|data| (data, 200)));
    assert_eq!((code, length), (200, 2));

    let bad = json!({"parallel": [r("two"), r("503")]});
    let (messages, code, length, called) = run(json!({"pipe": [r("one"), bad, r("three")]})).await;
    assert_eq!((messages[0].1, messages[1].1, code, length), (200, 503, 503, 2));
    assert!(!called.contains(&"three".to_owned()));

    let (messages, code, length, _) =
        run(json!({"pipe": [r("one"), both, {"lambda": "identity"}]})).await;
    assert_eq!((messages, code, length), (vec![(json!(branches), 200)], 200, 1));

    let words = json!({"pipe": [r("words"), r("count")]});
    let (messages, ..) = run_on(words, json!("a b a")).await;
    assert_eq!(messages, [(json!({"a": 2, "b": 1}), 200)]);

    let (_, code, _, called) = run(json!({"pipe": [r("201"), r("one")]})).await;
    assert_eq!((code, called), (201, vec!["201".to_owned()]));
}

#[tokio::test]
async fn conditions_and_batches_are_those_of_the_vectors() {
    let (messages, code, ..) =
        run(json!({"andand": [m("one", json!({"m1": 1})), m("two", json!({"m2": 1}))]})).await;
    let mut last = acks(&["two"]);
    last["m2"] = json!(1);
    assert_eq!((messages, code), (vec![(last, 200)], 200));

    let (messages, _, _, called) = run(json!({"andand": [r("one"), r("404"), r("two")]})).await;
    assert_eq!(messages, [(acks(&["404"]), 404)]);
    assert_eq!(called, ["one", "404"]);

    let (messages, code, _, called) = run(json!({"oror": [r("503"), r("two"), r("three")]})).await;
    assert_eq!((messages, code), (vec![(acks(&["two"]), 200)], 200));
    assert_eq!(called, ["503", "two"]);
    // The last, not the worst.
    assert_eq!(run(json!({"oror": [r("503"), r("404")]})).await.1, 404);

    let (messages, code, ..) = run(json!({"batch": [r("one"), r("503"), r("two")]})).await;
    assert_eq!((messages, code), (vec![(acks(&["two"]), 200)], 200));
    assert_eq!(run(json!({"batch": [r("one"), r("503")]})).await.1, 503);

    let (messages, code, length, _) =
        run(json!({"batch": [r("one"), r("503"), r("two")], "record": true})).await;
    let codes: Vec<_> = messages.iter().map(|message| message.1).collect();
    assert_eq!((codes, code, length), (vec![200, 503, 200], 503, 3));

    let both = json!({"parallel": [r("two"), r("three")]});
    let (messages, _, length, _) = run(json!({"batch": [r("one"), both], "record": true})).await;
    assert_eq!(length, 2);
    assert_eq!(messages[1].0, json!([acks(&["two"]), acks(&["three"])]));
}

#[tokio::test(start_paused = true)]
async fn parallel_steps_are_those_of_the_vectors_in_their_order() {
    let (messages, code, length, _) =
        run(json!({"parallel": [r("one"), r("503"), r("404")]})).await;
    let codes: Vec<_> = messages.iter().map(|message| message.1).collect();
    assert_eq!((codes, code, length), (vec![200, 503, 404], 503, 3));

    let pair = |a, b| json!({"parallel": [r(a), r(b)]});
    let (messages, ..) = run(json!({"parallel": [pair("one", "two"), pair("two", "three")]})).await;
    assert_eq!(messages[0].0, json!([acks(&["one"]), acks(&["two"])]));
    let pipe = |a, b| json!({"pipe": [r(a), r(b)]});
    let (messages, ..) = run(json!({"parallel": [pipe("one", "two"), pipe("three", "503")]})).await;
    assert_eq!((messages[0].1, messages[1].1), (200, 503));

    let slow = json!({"requests": {"compose-slow": ""}, "timeout": 1});
    let (messages, code, length, _) = run(json!({"parallel": [slow, r("one")]})).await;
    assert_eq!(messages[0], (json!("Execution timed out"), TIMED_OUT));
    assert_eq!((messages[1].1, code, length), (200, 499, 2));
    // A single branch is not a list: `compose_pipe_parallel_of_one`.
    let one = run(json!({"pipe": [{"parallel": [r("one")]}, r("two")]})).await;
    assert_eq!(one.0, [(acks(&["one", "two"]), 200)]);
}

#[tokio::test]
async fn errors_are_messages() {
    let missing = r("missing");
    let text = json!("no active subscriber for `missing`");
    for composition in [
        json!({"pipe": [missing, r("one")]}),
        json!({"pipe": [r("one"), missing]}),
        json!({"andand": [missing, r("one")]}),
    ] {
        assert_eq!(run(composition).await.0, [(text.clone(), 404)]);
    }
    assert_eq!(run(json!({"oror": [missing, r("one")]})).await.1, 200);
    assert_eq!(run(json!({"batch": [missing, r("one")]})).await.1, 200);
    let (messages, code, ..) = run(json!({"parallel": [missing, r("503")]})).await;
    assert_eq!((messages[0].1, code), (404, 503));
    let (messages, ..) = run(json!({"batch": [r("one"), missing], "record": true})).await;
    assert_eq!((messages[0].1, messages[1].1), (200, 404));
    assert_eq!(run(json!({"pipe": [{"lambda": "missing"}, r("one")]})).await.1, 502);
}

#[tokio::test]
async fn merges_need_an_object() {
    let merge = json!({"pipe": [m("one", json!({"m1": 1})), r("two")]});
    for (input, what) in [
        (json!([1]), "an array"),
        (json!(1), "a number"),
        (json!("x"), "a string"),
        (json!(true), "a boolean"),
    ] {
        let (messages, code, _, called) = run_on(merge.clone(), input).await;
        assert_eq!(messages[0].0, json!(format!("cannot merge an object into {what}")));
        assert_eq!((code, called.len()), (400, 0));
    }
    let (messages, ..) = run_on(merge, Value::Null).await;
    assert_eq!(messages[0].0, json!({"m1": 1, "ack-one": "one", "ack-two": "two"}));
    let nested = json!({"pipe": [m("one", json!({"a": {"y": 1}}))]});
    let (messages, ..) = run_on(nested, json!({"a": {"x": 1}})).await;
    assert_eq!(messages[0].0["a"], json!({"y": 1}));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_done_in_time_is_499() {
    let composition = json!({"batch": [r("one"), r("slow"), r("two")], "record": true});
    let composition = Composition::parse(&composition.to_string()).unwrap();
    let services = Services::default();
    let time = Duration::from_secs(3);
    let response = composition.evaluate(&services, Data::null(), time).await;
    let codes: Vec<_> = response.messages().iter().map(|message| message.code).collect();
    assert_eq!(codes, [200, 499, 499]);
    assert_eq!(*services.called.lock(), ["one", "slow"]);
    // And again: nothing of it was used up.
    assert_eq!(composition.evaluate(&services, Data::null(), LONG).await.code(), 200);
    assert_eq!(composition.topics().len(), 3);
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let deep =
        |depth: usize| (0..depth).fold(r("one"), |inner, _| json!({"pipe": [inner]})).to_string();
    let many = json!({"parallel": vec![r("one"); 256]}).to_string();
    for (text, pointer, says) in [
        ("", "", "not well-formed JSON"),
        ("[]", "", "this is an array"),
        ("{}", "", "has no operator"),
        (r#"{"pipes": []}"#, "/pipes", "is not known"),
        (r#"{"pipe": [], "andand": []}"#, "/andand", "a second operator"),
        (r#"{"pipe": []}"#, "/pipe", "has no steps"),
        (r#"{"pipe": {}}"#, "/pipe", "must be a list"),
        (r#"{"pipe": [{"requests": {"a": {}, "b": {}}}]}"#, "/pipe/0/requests", "this has 2"),
        (r#"{"pipe": [{"requests": {"a": {}, "a": {}}}]}"#, "/pipe/0/requests", "this has 2"),
        (r#"{"requests": {}}"#, "/requests", "this has 0"),
        (r#"{"requests": "a"}"#, "/requests", "this is a string"),
        (r#"{"requests": {"a.*": ""}}"#, "/requests/a.*", "`*` is for the topics of slots"),
        (r#"{"requests": {"": ""}}"#, "/requests/", "must not be empty"),
        (r#"{"parallel": [{"lambda": 1}]}"#, "/parallel/0/lambda", "this is a number"),
        (r#"{"pipe": [{"lambda": "a"}], "record": true}"#, "/record", "beside `batch`"),
        (r#"{"batch": [{"lambda": "a"}], "record": 1}"#, "/record", "true or false"),
        (r#"{"requests": {"a": ""}, "timeout": -1}"#, "/timeout", "from 0 to 86400"),
        (r#"{"requests": {"a": ""}, "timeout": 86401}"#, "/timeout", "from 0 to 86400"),
        (&many, "/parallel/255", "more than 256 steps"),
        (&deep(33), &"/pipe/0".repeat(33), "deeper than the limit of 32"),
    ] {
        let error = Composition::parse(text).unwrap_err();
        assert_eq!(error.pointer(), pointer, "{text}");
        assert!(error.to_string().contains(says), "{error}");
    }
    assert!(Composition::parse(&deep(32)).is_ok());
    let error = Composition::parse(r#"{"pipe":[]}"#).unwrap_err().under("/composition");
    assert_eq!(
        error.to_string(),
        "`/composition/pipe`: has no steps; an operator needs at least one"
    );
    // As the Ruby client writes them, in every place.
    let ruby =
        r#"{"pipe17": [{"requests3": {"a": ""}}, {"oror9": [{"batch1": [{"lambda": "x"}]}]}]}"#;
    assert!(Composition::parse(ruby).is_ok());
}
