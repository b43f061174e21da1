use std::borrow::Cow;

use super::malformed;
use crate::{Malformed, Problem};

const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);

/// Checks the string whose opening quote is at `start` and returns its end, and whether it contains an
/// escape.
#[inline]
pub(super) fn scan(bytes: &[u8], start: usize) -> Result<(usize, bool), Malformed> {
    let at = plain(bytes, start + 1);
    match bytes.get(at) {
        Some(b'"') => Ok((at + 1, false)),
        _ => scan_escapes(bytes, at).map(|end| (end, true)),
    }
}

/// Continues after the plain part of a string, at a byte other than the closing quote.
fn scan_escapes(bytes: &[u8], mut at: usize) -> Result<usize, Malformed> {
    loop {
        match bytes.get(at) {
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => at = plain(bytes, escape(bytes, at)?),
            Some(_) => return Err(malformed(at, Problem::ControlCharacter)),
            None => return Err(malformed(at, Problem::UnexpectedEnd)),
        }
    }
}

/// Skips ordinary bytes, eight at a time.
#[inline]
fn plain(bytes: &[u8], mut at: usize) -> usize {
    while let Some(chunk) = bytes[at..].first_chunk::<8>() {
        let found = special(u64::from_le_bytes(*chunk));
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = &bytes[at..];
    at + rest.iter().position(|&byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)).unwrap_or(rest.len())
}

/// Sets the high bit of each byte that is a quote, a backslash or a control character.
///
/// A borrow may mark bytes above the first hit wrongly, never below it: only the lowest mark is valid.
const fn special(word: u64) -> u64 {
    let quote = word ^ (ONES * b'"' as u64);
    let slash = word ^ (ONES * b'\\' as u64);
    let quotes = quote.wrapping_sub(ONES) & !quote;
    let slashes = slash.wrapping_sub(ONES) & !slash;
    let controls = word.wrapping_sub(ONES * 0x20) & !word;
    (quotes | slashes | controls) & HIGHS
}

/// Skips the escape at `at`, including a whole surrogate pair.
fn escape(bytes: &[u8], at: usize) -> Result<usize, Malformed> {
    match bytes.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => unicode(bytes, at).map(|(_, end)| end),
        Some(_) => Err(malformed(at, Problem::Escape)),
        None => Err(malformed(bytes.len(), Problem::UnexpectedEnd)),
    }
}

/// Reads `\uXXXX` at `at`, or a pair of them, and returns its end.
fn unicode(bytes: &[u8], at: usize) -> Result<(char, usize), Malformed> {
    let lone = malformed(at, Problem::LoneSurrogate);
    let first = unit(bytes, at)?;
    if let Some(character) = char::from_u32(first) {
        return Ok((character, at + 6));
    }
    if first >= 0xdc00 || bytes.get(at + 6..at + 8) != Some(b"\\u") {
        return Err(lone);
    }
    let second = unit(bytes, at + 6)?;
    if !(0xdc00..0xe000).contains(&second) {
        return Err(lone);
    }
    let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
    Ok((char::from_u32(code).ok_or(lone)?, at + 12))
}

/// Reads the four hex digits of the `\u` at `at`.
fn unit(bytes: &[u8], at: usize) -> Result<u32, Malformed> {
    let digits = bytes.get(at + 2..at + 6).ok_or(malformed(bytes.len(), Problem::UnexpectedEnd))?;
    digits.iter().try_fold(0, |unit, &digit| {
        let value = char::from(digit).to_digit(16);
        Ok(unit << 4 | value.ok_or(malformed(at, Problem::Escape))?)
    })
}

/// The meaning of the inside of a string that [`scan`] has accepted; borrowed unless it contains an
/// escape.
pub(super) fn unescape(raw: &str) -> Cow<'_, str> {
    if !holds_escape(raw) {
        return Cow::Borrowed(raw);
    }
    let mut rest = raw;
    let mut text = String::new();
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let (character, end) = decode_escape(rest.as_bytes(), at);
        text.push(character);
        rest = &rest[end..];
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// Strings are short: one loop without a branch for each byte is faster than a search that can end early.
fn holds_escape(raw: &str) -> bool {
    raw.bytes().fold(false, |holds, byte| holds | (byte == b'\\'))
}

fn decode_escape(bytes: &[u8], at: usize) -> (char, usize) {
    let character = match bytes[at + 1] {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode(bytes, at).expect("the scanner has checked every escape"),
        same => char::from(same),
    };
    (character, at + 2)
}
