//! MessagePack bodies: nothing panics, and what is well-formed is what `rmpv` says.

#![no_main]

use libfuzzer_sys::fuzz_target;
use poa_fuzz::{check, well_formed};
use poa_protocol::Format;
use rmpv::Value;

fuzz_target!(|body: &[u8]| {
    check(Format::MessagePack, body);
    if let Some(expected) = reference(body) {
        assert_eq!(well_formed(Format::MessagePack, body), expected);
    }
});

/// No verdict where `rmpv` is more lenient (0xc1 is nil to it) or has a narrower limit (depth).
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
