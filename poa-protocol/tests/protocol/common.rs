//! Helpers shared by the recorded exchanges and the tests.

use poa_protocol::{
    Batch, Bye, Call, CallKind, Format, Limits, MAX_ID_BYTES, Ping, Refusal, decode, decode_fields,
};
use serde_json::Value;

/// The objects of a file with one JSON object on each line.
pub(crate) fn lines(file: &str) -> Vec<Value> {
    file.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The bodies that a real agent sent, with their paths. The long ones were recorded as JSON,
/// because the recorder did not keep their bytes.
pub(crate) fn agent_bodies() -> Vec<(String, Vec<u8>)> {
    lines(include_str!("../fixtures/agent_wire.jsonl"))
        .iter()
        .map(|exchange| {
            let body = match exchange["body_hex"].as_str() {
                Some(hex) => from_hex(hex),
                None => to_message_pack(&exchange["body"]),
            };
            (exchange["path"].as_str().unwrap().to_owned(), body)
        })
        .collect()
}

pub(crate) fn to_message_pack(value: &Value) -> Vec<u8> {
    let value: rmpv::Value = serde_json::from_value(value.clone()).unwrap();
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, &value).unwrap();
    bytes
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// The decision about a data call, by its status.
pub(crate) fn status(format: Format, body: &[u8]) -> u16 {
    decode(CallKind::Data, format, body, &Limits::default())
        .and_then(|call| match call {
            Call::Batch(Batch { refusal: Some(refusal), .. }) => Err(refusal),
            _ => Ok(()),
        })
        .map_or_else(|refusal| refusal.status(), |()| 200)
}

/// Whether a body is one well-formed value of any kind.
pub(crate) fn well_formed(format: Format, body: &[u8]) -> bool {
    let limits = Limits::default();
    !matches!(decode_fields(format, body, &limits, []), Err(Refusal::Malformed(_)))
}

/// The invariants of every decoded call: its parts are inside the body and valid by themselves.
pub(crate) fn check_call(format: Format, body: &[u8], call: &Call<'_>) {
    let calls = match call {
        Call::Data(data) => std::slice::from_ref(data),
        Call::Batch(batch) => &batch.items,
        Call::Ping(Ping { id }) | Call::Bye(Bye { id }) => return check_id(id),
    };
    for data in calls {
        check_id(&data.id);
        assert_eq!(data.data, &body[data.range()]);
        decode_fields(format, data.data, &Limits::default(), []).unwrap();
    }
}

fn check_id(id: &str) {
    assert!((1..=MAX_ID_BYTES).contains(&id.len()), "{id:?}");
    assert!(!id.chars().any(char::is_control), "{id:?}");
}
