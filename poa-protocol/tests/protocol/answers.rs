//! WebSocket responses, decoded by other libraries.

use poa_protocol::{Frame, Outcome, Reference, Refusal, answer};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::common::to_message_pack;

/// Encodes in both formats, which must have the same meaning.
fn encode(reference: &Value, outcome: Outcome<'_>) -> Value {
    let text = reference.to_string();
    let json = match answer(&Reference::Json(Some(text.into())), outcome) {
        Frame::Text(text) => serde_json::from_str::<Value>(&text).unwrap(),
        Frame::Binary(_) => panic!("JSON is text"),
    };
    let raw = to_message_pack(reference);
    let message_pack = match answer(&Reference::MessagePack(Some(raw.into())), outcome) {
        Frame::Binary(bytes) => read_all(&bytes),
        Frame::Text(_) => panic!("MessagePack is binary"),
    };
    assert_eq!(json, message_pack);
    json
}

fn read_all(mut bytes: &[u8]) -> Value {
    let value = rmpv::decode::read_value(&mut bytes).unwrap();
    assert!(bytes.is_empty());
    serde_json::to_value(value).unwrap()
}

#[test]
fn success_has_an_empty_payload_or_a_token() {
    let done = encode(&json!([1, {"a": "b"}]), Outcome::Done);
    assert_eq!(done, json!({"result": "success", "ref": [1, {"a": "b"}], "payload": {}}));
    let token = encode(&json!("r"), Outcome::Token("abc"));
    assert_eq!(token, json!({"result": "success", "ref": "r", "payload": {"token": "abc"}}));
}

#[test]
fn refusals_carry_code_message_and_status() {
    let refused = encode(&json!(7), Outcome::Refused(&Refusal::MissingField { field: "id" }));
    let payload =
        json!({"code": "missing_field", "message": "field `id` is missing", "status": 422});
    assert_eq!(refused, json!({"result": "error", "ref": 7, "payload": payload}));

    let full = encode(&json!(null), Outcome::Refused(&Refusal::BacklogFull { retry_after: 5 }));
    assert_eq!(
        (&full["payload"]["status"], &full["payload"]["retry_after"]),
        (&json!(503), &json!(5))
    );
}

#[test]
fn a_missing_reference_is_null() {
    let Frame::Text(text) = answer(&Reference::Json(None), Outcome::Done) else { panic!("text") };
    assert_eq!(text, r#"{"result":"success","ref":null,"payload":{}}"#);
    let Frame::Binary(bytes) = answer(&Reference::MessagePack(None), Outcome::Done) else {
        panic!("binary")
    };
    assert_eq!(read_all(&bytes)["ref"], Value::Null);
}

proptest! {
    #[test]
    fn any_text_survives(text in ".{0,300}|[\\x00-\\x7f]{0,40}", reference in ".*") {
        let token = encode(&json!(reference), Outcome::Token(&text));
        prop_assert_eq!(&token["payload"]["token"], &json!(text));
        let refusal = Refusal::unknown_type(&text, [&*reference]);
        let refused = encode(&json!(reference), Outcome::Refused(&refusal));
        prop_assert_eq!(&refused["payload"]["message"], &json!(refusal.to_string()));
        let body: Value = serde_json::from_str(&refusal.body()).unwrap();
        prop_assert_eq!(&body["message"], &json!(refusal.to_string()));
    }

    #[test]
    fn tokens_of_every_length_class_survive(length in prop_oneof![0..40usize, 200..300usize, 65_500..65_600usize]) {
        let text = "t".repeat(length);
        let token = encode(&json!(1), Outcome::Token(&text));
        prop_assert_eq!(&token["payload"]["token"], &json!(text));
    }
}
