use super::malformed;
use crate::{Malformed, Problem};

/// Checks the number at `start` and returns its end.
///
/// Only the grammar is checked: a number stays text, so none is too large.
pub(super) fn scan(bytes: &[u8], start: usize) -> Result<usize, Malformed> {
    let mut at = start + usize::from(bytes[start] == b'-');
    at = match bytes.get(at) {
        Some(b'0') => at + 1,
        _ => digits(bytes, at)?,
    };
    if bytes.get(at) == Some(&b'.') {
        at = digits(bytes, at + 1)?;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let signed = matches!(bytes.get(at + 1), Some(b'+' | b'-'));
        at = digits(bytes, at + 1 + usize::from(signed))?;
    }
    Ok(at)
}

/// Skips one digit or more.
fn digits(bytes: &[u8], from: usize) -> Result<usize, Malformed> {
    let mut at = from;
    while bytes.get(at).is_some_and(u8::is_ascii_digit) {
        at += 1;
    }
    if at > from {
        return Ok(at);
    }
    Err(malformed(from, if at == bytes.len() { Problem::UnexpectedEnd } else { Problem::Number }))
}
