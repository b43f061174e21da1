//! The rules for the fields of a call, in both formats.

use std::borrow::Cow;

use poa_protocol::{Batch, Call, CallKind, Data, Format, Kind, Limits, Refusal, decode};
use serde_json::{Value, json};

use crate::common::{status, to_message_pack};

fn both(value: &Value) -> [(Format, Vec<u8>); 2] {
    [(Format::Json, value.to_string().into_bytes()), (Format::MessagePack, to_message_pack(value))]
}

/// Decodes `value` in both formats, which must agree, and returns the refusal.
fn refusal(kind: CallKind, value: &Value) -> Refusal {
    let [json, message_pack] = both(value).map(|(format, body)| {
        decode(kind, format, &body, &Limits::default()).map(|_| ()).unwrap_err()
    });
    assert_eq!(json, message_pack, "{value}");
    json
}

fn data(format: Format, body: &[u8]) -> Data<'_> {
    match decode(CallKind::Data, format, body, &Limits::default()).unwrap() {
        Call::Data(data) => data,
        other => panic!("{other:?}"),
    }
}

#[test]
fn reads_a_data_call_in_any_order_with_unknown_fields() {
    let value = json!({"zzz": [1, {"id": "no"}], "data": {"id": "inner"}, "type": "t", "id": "a"});
    for (format, body) in both(&value) {
        let call = data(format, &body);
        assert_eq!((&*call.id, &*call.data_type), ("a", "t"));
        assert!(matches!(call.id, Cow::Borrowed(_)));
        assert_eq!(call.data, &body[call.range()]);
    }
}

#[test]
fn data_is_the_exact_text_of_the_object() {
    let body = br#" { "id" : "a" , "type" : "t" , "data" :  { "n" : 1e999, "s":"\u0041" }  } "#;
    assert_eq!(data(Format::Json, body).data, br#"{ "n" : 1e999, "s":"\u0041" }"#);
}

#[test]
fn reads_escapes_in_names_and_text() {
    let body = br#"{"\u0069d":"\u0430\"\/\ud83d\ude00","ty\u0070e":"t\\\u00e9","data":{}}"#;
    let call = data(Format::Json, body);
    assert_eq!((&*call.id, &*call.data_type), ("а\"/😀", "t\\é"));
    let body = br#"{"id":"\b","id":"a","type":"\f\n\r\t\b","data":{}}"#;
    assert_eq!(data(Format::Json, body).data_type, "\u{c}\n\r\t\u{8}");
}

#[test]
fn the_last_of_duplicate_fields_wins() {
    let json = br#"{"id":"a","type":"t","data":{},"id":"b","data":{"x":1}}"#;
    let call = data(Format::Json, json);
    assert_eq!((&*call.id, call.data), ("b", &br#"{"x":1}"#[..]));
    assert_eq!(status(Format::Json, br#"{"id":"a","type":"t","data":{},"id":null}"#), 422);
    assert_eq!(status(Format::Json, br#"{"id":7,"type":"t","data":{},"\u0069d":"a"}"#), 200);

    let message_pack = b"\x84\xa2id\xa1a\xa4type\xa1t\xa4data\x80\xc4\x02id\xa1b";
    assert_eq!(data(Format::MessagePack, message_pack).id, "b");
}

#[test]
fn message_pack_names_and_text_may_be_bin() {
    let body =
        b"\x83\xc4\x02id\xc4\x01a\xc5\x00\x04type\xc6\x00\x00\x00\x01t\xd9\x04data\x81\x01\xc1";
    assert_eq!(status(Format::MessagePack, body), 400);
    let body = b"\x83\xc4\x02id\xc4\x01a\xc5\x00\x04type\xc6\x00\x00\x00\x01t\xd9\x04data\x81\x01\xc7\x00\x05";
    let call = data(Format::MessagePack, body);
    assert_eq!((&*call.id, &*call.data_type), ("a", "t"));
    assert_eq!(call.data, b"\x81\x01\xc7\x00\x05");

    let text = |head: &[u8]| [b"\x81\xa2id", head].concat();
    let decode_ping = |body: &[u8]| {
        decode(CallKind::Ping, Format::MessagePack, body, &Limits::default()).map(|_| ())
    };
    for id in [
        &b"\xa1a"[..],
        b"\xd9\x01a",
        b"\xda\x00\x01a",
        b"\xdb\x00\x00\x00\x01a",
        b"\xc4\x01a",
        b"\xc5\x00\x01a",
        b"\xc6\x00\x00\x00\x01a",
    ] {
        decode_ping(&text(id)).unwrap();
    }
    let refusal = decode_ping(&text(b"\xc4\x01\xff")).unwrap_err();
    assert_eq!((refusal.status(), refusal.code()), (400, "malformed_body"));
    assert!(refusal.to_string().ends_with("not UTF-8"), "{refusal}");
}

#[test]
fn message_pack_names_that_are_not_text_are_unknown_fields() {
    let body = b"\x85\x01\xc0\xc4\x01\xff\xc0\x91\xa2id\xc0\xc0\xa2id\xa2id\xa1a";
    let call = decode(CallKind::Bye, Format::MessagePack, body, &Limits::default()).unwrap();
    assert!(matches!(call, Call::Bye(bye) if bye.id == "a"));
}

#[test]
fn names_the_field_that_is_missing_or_wrong() {
    let whole = json!({"id": "a", "type": "t", "data": {}});
    for (field, expected) in [("id", "a string"), ("type", "a string"), ("data", "an object")] {
        let mut missing = whole.clone();
        missing.as_object_mut().unwrap().remove(field);
        assert_eq!(refusal(CallKind::Data, &missing), Refusal::MissingField { field });

        let wrong = [
            (json!(null), Kind::Null),
            (json!(7), Kind::Number),
            (json!(true), Kind::Bool(true)),
            (json!(["t"]), Kind::Array),
        ];
        for (value, found) in wrong {
            let mut call = whole.clone();
            call[field] = value;
            assert_eq!(
                refusal(CallKind::Data, &call),
                Refusal::WrongType { field, expected, found }
            );
        }
    }
    let text = refusal(CallKind::Data, &json!({"id": "a", "type": "t", "data": "x"}));
    assert_eq!(text.to_string(), "field `data` must be an object, found a string");
}

#[test]
fn an_id_has_rules() {
    let ping = |id: &str| json!({"id": id});
    for id in ["a", " ", "é😀", "\u{a0}", &"x".repeat(256), &"é".repeat(128)] {
        for (format, body) in both(&ping(id)) {
            let call = decode(CallKind::Ping, format, &body, &Limits::default()).unwrap();
            assert!(matches!(call, Call::Ping(ping) if ping.id == id));
        }
    }
    for id in [
        "",
        "\0",
        "a\n",
        "\u{1f}",
        "\u{7f}",
        "\u{80}",
        "\u{9f}",
        &"x".repeat(257),
        &"é".repeat(129),
    ] {
        let refused = refusal(CallKind::Ping, &ping(id));
        assert_eq!((refused.status(), refused.code()), (422, "invalid_field"), "{id:?}");
    }
    // The limit applies to the unescaped text, not to its encoding.
    let escaped = format!(r#"{{"id":"{}"}}"#, r"\u0041".repeat(256));
    assert!(decode(CallKind::Bye, Format::Json, escaped.as_bytes(), &Limits::default()).is_ok());
}

#[test]
fn an_empty_json_body_is_an_object_without_fields() {
    for kind in [CallKind::Ping, CallKind::Data, CallKind::Bye] {
        let refused = decode(kind, Format::Json, b"", &Limits::default()).unwrap_err();
        assert_eq!(refused, Refusal::MissingField { field: "id" });
        let refused = decode(kind, Format::MessagePack, b"", &Limits::default()).unwrap_err();
        assert_eq!(refused.status(), 400);
    }
}

#[test]
fn a_body_that_is_not_an_object_is_refused() {
    for (value, found) in
        [(json!(1), Kind::Number), (json!("x"), Kind::Text), (json!(null), Kind::Null)]
    {
        for kind in [CallKind::Ping, CallKind::Data, CallKind::Bye] {
            assert_eq!(refusal(kind, &value), Refusal::NotAnObject { found });
        }
    }
    for call in [CallKind::Ping, CallKind::Bye] {
        assert_eq!(refusal(call, &json!([{"id": "a"}])), Refusal::NoBatch { call });
    }
}

#[test]
fn a_malformed_body_takes_precedence_over_other_faults() {
    let bodies: [(&[u8], &[u8]); 3] = [
        (br#"{"id":7,"zzz":tru}"#, b"\x82\xa2id\x07\xa1z\xc1"),
        (br#"{"id":7}}"#, b"\x81\xa2id\x07\x07"),
        (br#"[1,{"id":7},"#, b"\x93\x01\x81\xa2id\x07\xc1"),
    ];
    for (json, message_pack) in bodies {
        for kind in [CallKind::Ping, CallKind::Data, CallKind::Bye] {
            for (format, body) in [(Format::Json, json), (Format::MessagePack, message_pack)] {
                let refused = decode(kind, format, body, &Limits::default()).unwrap_err();
                assert_eq!(refused.status(), 400, "{kind} {refused}");
            }
        }
    }
}

#[test]
fn a_batch_keeps_its_order() {
    let item = |id: &str| json!({"id": id, "type": "t", "data": {"of": id}});
    let value = json!([item("a"), item("b"), item("a")]);
    for (format, body) in both(&value) {
        let Call::Batch(batch) = decode(CallKind::Data, format, &body, &Limits::default()).unwrap()
        else {
            panic!("not a batch");
        };
        assert_eq!(batch.refusal, None);
        let ids: Vec<_> = batch.items.iter().map(|data| &*data.id).collect();
        assert_eq!(ids, ["a", "b", "a"]);
        assert!(batch.items.iter().all(|data| data.data == &body[data.range()]));
    }
}

#[test]
fn an_empty_batch_is_accepted() {
    for (format, body) in both(&json!([])) {
        let call = decode(CallKind::Data, format, &body, &Limits::default()).unwrap();
        assert_eq!(call, Call::Batch(Batch::default()));
    }
}

#[test]
fn a_batch_names_the_first_invalid_item() {
    let good = json!({"id": "a", "type": "t", "data": {}});
    let value = json!([good, {"id": "a", "type": "t"}, 7, good]);
    let expected = Refusal::MissingField { field: "data" }.in_batch(1);
    for batch in batches(&value) {
        assert_eq!(batch, (1, Some(expected.clone())));
    }
    assert_eq!(expected.to_string(), "item 1: field `data` is missing");
    assert_eq!((expected.status(), expected.code()), (422, "missing_field"));

    let nested = Refusal::NotAnObject { found: Kind::Array }.in_batch(0);
    for batch in batches(&json!([[good]])) {
        assert_eq!(batch, (0, Some(nested.clone())));
    }
}

/// The number of valid items in a batch, and the reason why the next is not; in both formats.
fn batches(value: &serde_json::Value) -> Vec<(usize, Option<Refusal>)> {
    both(value)
        .into_iter()
        .map(|(format, body)| match decode(CallKind::Data, format, &body, &Limits::default()) {
            Ok(Call::Batch(batch)) => (batch.items.len(), batch.refusal),
            other => panic!("not a batch: {other:?}"),
        })
        .collect()
}

/// RFC 8259, section 8.1: Windows clients put U+FEFF before their JSON.
#[test]
fn a_byte_order_mark_before_json_is_ignored() {
    let body = "\u{feff}{\"id\":\"a\",\"type\":\"t\",\"data\":{\"n\":1}}".as_bytes();
    let call = decode(CallKind::Data, Format::Json, body, &Limits::default()).unwrap();
    let Call::Data(data) = call else { panic!("{call:?}") };
    assert_eq!((data.data, &body[data.range()]), (&b"{\"n\":1}"[..], &b"{\"n\":1}"[..]));
    let alone = decode(CallKind::Ping, Format::Json, "\u{feff}".as_bytes(), &Limits::default());
    assert_eq!(alone, Err(Refusal::MissingField { field: "id" }));
    let within = "{\u{feff}\"id\":\"a\"}".as_bytes();
    let refused = decode(CallKind::Ping, Format::Json, within, &Limits::default()).unwrap_err();
    assert_eq!(refused.status(), 400);
}

/// The memory of a batch grows with its items, not with its bytes.
#[test]
fn a_batch_ends_at_the_first_item_beyond_the_limit() {
    let limits = Limits { max_items: 3, ..Limits::default() };
    let item = r#"{"id":"a","type":"t","data":{}}"#;
    let batch = |count: usize| format!("[{}]", vec![item; count].join(","));
    fn decoded<'b>(body: &'b str, limits: &Limits) -> Result<Call<'b>, Refusal> {
        decode(CallKind::Data, Format::Json, body.as_bytes(), limits)
    }
    assert!(
        matches!(decoded(&batch(3), &limits), Ok(Call::Batch(batch)) if batch.items.len() == 3)
    );
    let refused = Err(Refusal::TooManyItems { limit: 3 });
    assert_eq!(decoded(&batch(4), &limits), refused);
    // The rest is not examined.
    assert_eq!(decoded(&format!("[{item},{item},{item},{item},!"), &limits), refused);
    let packed = [&b"\xdc\x00\x64"[..], &[0x80; 100]].concat();
    let decoded = decode(CallKind::Data, Format::MessagePack, &packed, &limits);
    assert_eq!(decoded, refused);
}
