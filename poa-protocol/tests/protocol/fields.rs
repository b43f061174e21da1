//! Bodies that are not calls, and their formats.

use poa_protocol::{FieldValue, Format, Kind, Limits, Refusal, decode_fields, decode_known_fields};
use serde_json::json;

use crate::common::to_message_pack;

#[test]
fn reads_text_and_flags_in_both_formats() {
    let value = json!({"user-name": "dave", "active": false, "password": null, "other": {}});
    let names = ["user-name", "active", "password", "token"];
    for (format, body) in [
        (Format::Json, value.to_string().into_bytes()),
        (Format::MessagePack, to_message_pack(&value)),
    ] {
        let [user, active, password, token] =
            decode_fields(format, &body, &Limits::default(), names).unwrap();
        assert_eq!(user.clone().text().unwrap(), "dave");
        assert_eq!(user.clone().flag().unwrap_err().code(), "wrong_type");
        assert_eq!(user.optional_text().unwrap().as_deref(), Some("dave"));
        assert_eq!(active.clone().flag(), Ok(false));
        assert_eq!(active.text().unwrap_err().code(), "wrong_type");
        assert_eq!(password.value, FieldValue::Other(Kind::Null));
        assert_eq!(password.clone().optional_text().unwrap_err().code(), "wrong_type");
        assert_eq!(password.flag().unwrap_err().code(), "wrong_type");
        assert_eq!(token.value, FieldValue::Missing);
        assert_eq!(token.clone().optional_text(), Ok(None));
        assert_eq!(token.clone().flag(), Err(Refusal::MissingField { field: "token" }));
        assert_eq!(token.text(), Err(Refusal::MissingField { field: "token" }));
    }
}

#[test]
fn an_empty_json_body_has_no_fields() {
    let [field] = decode_fields(Format::Json, b"", &Limits::default(), ["agent-id"]).unwrap();
    assert_eq!(field.value, FieldValue::Missing);
    let refused = decode_fields(Format::MessagePack, b"", &Limits::default(), ["agent-id"]);
    assert_eq!(refused.unwrap_err().status(), 400);
}

#[test]
fn where_a_misspelt_field_matters_it_is_refused() {
    let names = ["active", "password"];
    // In alphabetical order, as some builds of the JSON library write them.
    let value = json!({"active": false, "pasword": "x", "with": 1});
    for (format, body) in [
        (Format::Json, value.to_string().into_bytes()),
        (Format::MessagePack, to_message_pack(&value)),
    ] {
        let limits = Limits::default();
        let refused = decode_known_fields(format, &body, &limits, names).unwrap_err();
        assert_eq!((refused.status(), refused.code()), (422, "unknown_field"));
        assert_eq!(
            refused.to_string(),
            "unknown field `pasword`; known: active, password; did you mean `password`?"
        );
    }
    let body = br#"{"active": true}"#;
    let fields = decode_known_fields(Format::Json, body, &Limits::default(), names).unwrap();
    assert_eq!(fields[0].clone().flag(), Ok(true));
}

#[test]
fn the_body_must_be_one_object() {
    for (body, status) in [
        (&b"[]"[..], 422),
        (b"\"x\"", 422),
        (b"{", 400),
        (b"{\"a", 400),
        (b"{}{}", 400),
        (b"[] 1", 400),
    ] {
        let refused = decode_fields(Format::Json, body, &Limits::default(), []).unwrap_err();
        assert_eq!(refused.status(), status, "{}", String::from_utf8_lossy(body));
    }
}

#[test]
fn a_content_type_may_have_parameters_and_any_case() {
    let read = |value: &str| Format::from_content_type(Some(value.as_bytes()));
    for value in [
        "application/json",
        "Application/JSON",
        " application/json\t",
        "application/json; charset=utf-8",
        "application/json;",
        "application/json ;x=\"a;b\"",
    ] {
        assert_eq!(read(value), Ok(Format::Json), "{value}");
    }
    for value in ["application/msgpack", "APPLICATION/MSGPACK; x=y"] {
        assert_eq!(read(value), Ok(Format::MessagePack), "{value}");
    }
    for value in [
        "",
        ";",
        "text/plain",
        "application/x-msgpack",
        "application/jsonx",
        "application/json, text/plain",
        "json",
        "application/vnd.api+json",
    ] {
        assert_eq!(read(value), Err(Refusal::UnsupportedMediaType), "{value}");
    }
    assert_eq!(Format::from_content_type(None), Err(Refusal::UnsupportedMediaType));
    assert_eq!(Format::from_content_type(Some(b"\xff")), Err(Refusal::UnsupportedMediaType));
    for format in [Format::Json, Format::MessagePack] {
        assert_eq!(read(format.content_type()), Ok(format));
    }
}
