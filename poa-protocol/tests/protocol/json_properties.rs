//! For any bytes, the JSON decoder agrees with `serde_json`.

use poa_protocol::{CallKind, Format, Limits, decode, decode_fields, decode_request};
use proptest::prelude::*;
use proptest::sample::Index;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::common::{check_call, well_formed};

/// Whether `serde_json` accepts the bytes. It refuses numbers beyond an f64 unless it ignores them, and where
/// it ignores them it does not check surrogates; such a body, and one that is too deep for it, gets no
/// verdict.
fn reference(body: &[u8]) -> Option<bool> {
    let Ok(text) = std::str::from_utf8(body) else {
        return Some(false);
    };
    match serde_json::from_str::<Value>(text) {
        Ok(_) => Some(true),
        Err(error) if error.to_string().contains("recursion") => None,
        Err(error) if error.to_string().contains("out of range") => {
            let plain = !text.contains(r"\u");
            plain.then(|| serde_json::from_str::<IgnoredAny>(text).is_ok())
        }
        Err(_) => Some(false),
    }
}

fn check(body: &[u8]) {
    if let (Some(expected), false) = (reference(body), body.is_empty()) {
        let shown = String::from_utf8_lossy(body);
        assert_eq!(well_formed(Format::Json, body), expected, "{shown}");
    }
    for kind in [CallKind::Ping, CallKind::Data, CallKind::Bye] {
        if let Ok(call) = decode(kind, Format::Json, body, &Limits::default()) {
            check_call(Format::Json, body, &call);
        }
    }
    let _ = decode_request(Format::Json, body, &Limits::default());
}

fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        "[\\x00-\\x7f]{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(".{0,8}", inner, 0..6).prop_map(Value::from_iter),
        ]
    })
}

fn call() -> impl Strategy<Value = Value> {
    (".{0,12}", "[a-z_]{0,12}", document(), document())
        .prop_map(|(id, data_type, data, extra)| json!({"id": id, "type": data_type, "data": data, "extra": extra}))
}

/// Replaces, inserts or deletes one byte; the bytes are those with a meaning in JSON, and arbitrary ones.
fn mutate(body: &mut Vec<u8>, (at, byte, how): (Index, u8, u8)) {
    if body.is_empty() {
        return;
    }
    let at = at.index(body.len());
    match how % 4 {
        0 => body[at] = byte,
        1 => body.insert(at, byte),
        2 => drop(body.remove(at)),
        _ => body.truncate(at),
    }
}

fn mutations() -> impl Strategy<Value = Vec<(Index, u8, u8)>> {
    let byte = prop_oneof![
        prop::sample::select(
            &b"{}[]\":,\\u0123456789abcdefDd8.eE+-tfn \t\n\x00\x1f\x7f\xc3\xa9\xed\xff"[..]
        ),
        any::<u8>(),
    ];
    prop::collection::vec((any::<Index>(), byte, any::<u8>()), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_bytes(body in prop::collection::vec(any::<u8>(), 0..64)) {
        check(&body);
    }

    #[test]
    fn json_shaped_bytes(body in "[\\[\\]{}\",:\\\\u0-9a-f.eE+\\- tn]{0,48}") {
        check(body.as_bytes());
    }

    #[test]
    fn escapes(inner in "(\\\\(u[dD][89abcdef][0-9a-f]{2}|u[0-9a-fA-F]{4}|[\"\\\\/bfnrtux])|[a-z]){0,6}") {
        check(format!("{{\"id\":\"{inner}\"}}").as_bytes());
    }

    #[test]
    fn numbers(number in "-?[0-9]{0,3}(\\.[0-9]{0,3})?([eE][+-]?[0-9]{0,4})?") {
        check(format!("{{\"n\":{number}}}").as_bytes());
    }

    #[test]
    fn generated_documents_are_accepted(value in document(), pretty in any::<bool>()) {
        let text = if pretty { format!("{value:#}") } else { value.to_string() };
        prop_assert!(well_formed(Format::Json, text.as_bytes()), "{}", text);
        check(text.as_bytes());
    }

    #[test]
    fn mutated_calls(value in call(), pretty in any::<bool>(), mutations in mutations()) {
        let text = if pretty { format!("{value:#}") } else { value.to_string() };
        let mut body = text.into_bytes();
        mutations.into_iter().for_each(|mutation| mutate(&mut body, mutation));
        check(&body);
    }

    #[test]
    fn decoded_fields_equal_the_encoded_ones(value in call()) {
        let body = value.to_string().into_bytes();
        let names = ["id", "type", "data"];
        let [id, data_type, _] = decode_fields(Format::Json, &body, &Limits::default(), names).unwrap();
        prop_assert_eq!(json!(id.text().unwrap()), value["id"].clone());
        prop_assert_eq!(json!(data_type.text().unwrap()), value["type"].clone());
        if let Ok(poa_protocol::Call::Data(call)) = decode(CallKind::Data, Format::Json, &body, &Limits::default()) {
            let data: Value = serde_json::from_slice(call.data).unwrap();
            // The floats were converted to text again; compare by text.
            prop_assert_eq!(data.to_string(), serde_json::from_str::<Value>(&value["data"].to_string()).unwrap().to_string());
        }
    }
}
