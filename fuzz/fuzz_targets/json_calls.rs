//! JSON bodies: nothing panics, and what is well-formed is what `serde_json` says.

#![no_main]

use libfuzzer_sys::fuzz_target;
use poa_fuzz::{check, well_formed};
use poa_protocol::Format;
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    check(Format::Json, body);
    let empty = body.is_empty() || body == b"\xef\xbb\xbf";
    if let (Some(expected), false) = (reference(body), empty) {
        assert_eq!(well_formed(Format::Json, body), expected);
    }
});

/// No verdict where `serde_json` has narrower limits: numbers beyond an f64, depth.
fn reference(body: &[u8]) -> Option<bool> {
    // serde_json knows no byte order mark.
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    match serde_json::from_slice::<Value>(body) {
        Ok(_) => Some(std::str::from_utf8(body).is_ok()),
        Err(error) => {
            let text = error.to_string();
            let narrower = text.contains("out of range") || text.contains("recursion");
            (!narrower).then_some(false)
        }
    }
}
