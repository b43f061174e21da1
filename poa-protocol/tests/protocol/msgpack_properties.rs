//! For any bytes, the MessagePack decoder agrees with `rmpv`.

use poa_protocol::{CallKind, Format, Limits, decode, decode_fields, decode_request};
use proptest::prelude::*;
use proptest::sample::Index;
use rmpv::Value;

use crate::common::{check_call, well_formed};

/// Whether `rmpv` accepts the bytes. It reads the reserved marker as nil, keeps text that is not UTF-8, and has
/// its own limit of depth, so its tree is checked again.
fn reference(body: &[u8]) -> Option<bool> {
    let mut rest = body;
    match rmpv::decode::read_value_with_max_depth(&mut rest, 120) {
        Ok(_) if body.contains(&0xc1) => None,
        Ok(value) => Some(rest.is_empty() && all_utf8(&value)),
        Err(rmpv::decode::Error::DepthLimitExceeded) => None,
        Err(_) => Some(false),
    }
}

fn all_utf8(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_str(),
        Value::Array(items) => items.iter().all(all_utf8),
        Value::Map(members) => {
            members.iter().all(|(name, value)| all_utf8(name) && all_utf8(value))
        }
        _ => true,
    }
}

pub(crate) fn check_against_rmpv(body: &[u8]) {
    if let Some(expected) = reference(body) {
        let found = well_formed(Format::MessagePack, body);
        assert_eq!(found, expected, "{body:x?}");
    }
}

fn check(body: &[u8]) {
    check_against_rmpv(body);
    for kind in [CallKind::Ping, CallKind::Data, CallKind::Bye] {
        if let Ok(call) = decode(kind, Format::MessagePack, body, &Limits::default()) {
            check_call(Format::MessagePack, body, &call);
        }
    }
    let _ = decode_request(Format::MessagePack, body, &Limits::default());
}

fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, value).unwrap();
    bytes
}

fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<f32>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Value::from),
        (any::<i8>(), prop::collection::vec(any::<u8>(), 0..20))
            .prop_map(|(kind, data)| Value::Ext(kind, data)),
    ];
    leaf.prop_recursive(12, 64, 20, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
            prop::collection::vec((inner.clone(), inner), 0..20).prop_map(Value::from),
        ]
    })
}

fn call() -> impl Strategy<Value = (String, Value, Vec<u8>)> {
    (".{0,12}", "[a-z_]{0,12}", document(), document()).prop_map(|(id, data_type, data, extra)| {
        let members = vec![
            (Value::from("id"), Value::from(&*id)),
            (extra.clone(), extra),
            (Value::from(b"type".to_vec()), Value::from(data_type)),
            (Value::from("data"), data.clone()),
        ];
        (id, data, encode(&Value::Map(members)))
    })
}

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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_bytes(body in prop::collection::vec(any::<u8>(), 0..64)) {
        check(&body);
    }

    #[test]
    fn containers_of_small_values(body in prop::collection::vec(prop_oneof![0x80..0xc4u8, 0xc4..=0xdfu8, 0..4u8], 0..64)) {
        check(&[&[0x81, 0xa1, b'x'], &body[..]].concat());
    }

    #[test]
    fn generated_documents_are_accepted(value in document()) {
        let body = encode(&Value::Map(vec![(Value::from("x"), value)]));
        prop_assert!(well_formed(Format::MessagePack, &body));
        check(&body);
    }

    #[test]
    fn mutated_calls(
        (_, _, mut body) in call(),
        mutations in prop::collection::vec(any::<(Index, u8, u8)>(), 1..4),
    ) {
        mutations.into_iter().for_each(|mutation| mutate(&mut body, mutation));
        check(&body);
    }

    #[test]
    fn decoded_calls_equal_the_encoded_ones((id, data, body) in call()) {
        let limits = Limits::default();
        let [field] = decode_fields(Format::MessagePack, &body, &limits, ["id"]).unwrap();
        prop_assert_eq!(field.text().unwrap(), id);
        let call = decode(CallKind::Data, Format::MessagePack, &body, &limits);
        if let Ok(poa_protocol::Call::Data(call)) = call {
            prop_assert_eq!(call.data, encode(&data));
        } else {
            prop_assert_eq!(call.unwrap_err().status(), 422);
        }
    }
}
