//! WebSocket requests.

use poa_protocol::{Call, Format, Limits, Reference, Refusal, SocketCall, decode_request};
use serde_json::{Value, json};

use crate::common::to_message_pack;

fn both(value: &Value) -> [(Format, Vec<u8>); 2] {
    [(Format::Json, value.to_string().into_bytes()), (Format::MessagePack, to_message_pack(value))]
}

#[test]
fn reads_every_call() {
    let calls = json!([
        {"call": "session", "user": "u", "password": "p"},
        {"call": "ping", "id": "a"},
        {"call": "data", "id": "a", "type": "t", "data": {"x": 1}},
        {"call": "bye", "id": "a"},
    ]);
    for value in calls.as_array().unwrap() {
        for (format, body) in both(value) {
            let request = decode_request(format, &body, &Limits::default()).unwrap();
            assert_eq!(request.reference, Reference::none(format));
            let name = match request.call.unwrap() {
                SocketCall::Session(session) => {
                    assert_eq!((&*session.user, &*session.password), ("u", "p"));
                    assert_eq!(format!("{session:?}"), r#"Session { user: "u", .. }"#);
                    "session"
                }
                SocketCall::Call(Call::Ping(ping)) if ping.id == "a" => "ping",
                SocketCall::Call(Call::Data(data)) if data.data == &body[data.range()] => "data",
                SocketCall::Call(Call::Bye(bye)) if bye.id == "a" => "bye",
                other => panic!("{other:?}"),
            };
            assert_eq!(value["call"], name);
        }
    }
}

#[test]
fn keeps_the_reference_as_sent_even_when_the_call_is_refused() {
    let body = br#"{"ref": {"n":1e400, "s":"\u0041"} , "call":"ping"}"#;
    let request = decode_request(Format::Json, body, &Limits::default()).unwrap();
    assert_eq!(request.reference, Reference::Json(Some(r#"{"n":1e400, "s":"\u0041"}"#.into())));
    assert_eq!(request.call, Err(Refusal::MissingField { field: "id" }));

    let body = b"\x82\xa3ref\xcd\x00\x01\xa4call\xa3bye";
    let request = decode_request(Format::MessagePack, body, &Limits::default()).unwrap();
    assert_eq!(
        request.reference.into_owned(),
        Reference::MessagePack(Some(b"\xcd\x00\x01".into()))
    );
    assert_eq!(request.call, Err(Refusal::MissingField { field: "id" }));
}

#[test]
fn a_reference_has_a_maximum_length() {
    // In both formats, a text takes a few bytes more than its length.
    for (length, taken) in [(1000, true), (1025, false), (7_900_000, false)] {
        let call = json!({"call": "ping", "id": "a", "ref": "x".repeat(length)});
        for (format, body) in both(&call) {
            let request = decode_request(format, &body, &Limits::default()).unwrap();
            assert_eq!(request.reference != Reference::none(format), taken, "{length}");
            match request.call {
                Ok(_) => assert!(taken, "{length}"),
                Err(refused) => {
                    assert!(!taken, "{length}: {refused}");
                    assert_eq!((refused.status(), refused.code()), (422, "invalid_field"));
                    let text = "field `ref` must not be longer than 1024 bytes";
                    assert_eq!(refused.to_string(), text);
                }
            }
        }
    }
}

#[test]
fn refuses_messages_that_are_not_calls() {
    for (value, code) in [
        (json!({}), "missing_field"),
        (json!({"call": 1}), "wrong_type"),
        (json!({"call": "pong", "id": "a"}), "unknown_call"),
        (json!({"call": "session", "user": "u"}), "missing_field"),
        (json!({"call": "session", "user": "u", "password": 1}), "wrong_type"),
        (json!({"call": "data", "id": "a", "type": "t", "data": []}), "wrong_type"),
        (json!({"call": "ping", "id": ""}), "invalid_field"),
    ] {
        for (format, body) in both(&value) {
            let request = decode_request(format, &body, &Limits::default()).unwrap();
            let refused = request.call.unwrap_err();
            assert_eq!((refused.status(), refused.code()), (422, code), "{value}");
        }
    }
    for (body, status) in
        [(&b""[..], 400), (b"[]", 422), (b"{\"call\":\"ping\",\"id\":1", 400), (b"{}{}", 400)]
    {
        let refused = decode_request(Format::Json, body, &Limits::default()).unwrap_err();
        assert_eq!(refused.status(), status);
    }
}

#[test]
fn a_call_may_have_an_idempotency_key() {
    let call = json!({"call": "data", "id": "a", "type": "t", "data": {}, "idempotency_key": "k"});
    for (format, body) in both(&call) {
        let request = decode_request(format, &body, &Limits::default()).unwrap();
        assert_eq!(request.idempotency_key.as_deref(), Some("k"));
    }
    let call = json!({"call": "ping", "id": "a", "idempotency_key": 7});
    for (format, body) in both(&call) {
        let request = decode_request(format, &body, &Limits::default()).unwrap();
        let refused = request.call.unwrap_err().to_string();
        assert_eq!(refused, "field `idempotency_key` must be a string, found a number");
    }
}

#[test]
fn an_unknown_call_is_refused_with_the_known_ones() {
    let request = decode_request(Format::Json, br#"{"call":"bey"}"#, &Limits::default()).unwrap();
    let text = request.call.unwrap_err().to_string();
    assert_eq!(text, "unknown call `bey`; known: session, ping, data, bye; did you mean `bye`?");
}
