//! Converts MessagePack to JSON text, without a tree in between.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// An open container: `remaining` items of an array, or keys and values of a map.
struct Open {
    remaining: u64,
    map: bool,
    first: bool,
}

/// Writes one MessagePack value as JSON.
///
/// The error is the offset of the malformed byte. Iterative, so that depth costs heap, not stack.
pub(super) fn transcode(bytes: &[u8]) -> Result<String, usize> {
    let mut reader = Reader { bytes, at: 0 };
    let mut out = String::with_capacity(bytes.len() + bytes.len() / 4);
    let mut open: Vec<Open> = Vec::new();
    loop {
        let as_key = before_value(&mut open, &mut out);
        let opened =
            if as_key { key(&mut reader, &mut out)? } else { value(&mut reader, &mut out)? };
        open.extend(opened);
        close_finished(&mut open, &mut out);
        if open.is_empty() {
            break;
        }
    }
    if reader.at == bytes.len() { Ok(out) } else { Err(reader.at) }
}

/// Writes the comma or colon before the next item; returns whether that item is a key.
fn before_value(open: &mut [Open], out: &mut String) -> bool {
    let Some(top) = open.last_mut() else { return false };
    let is_key = top.map && top.remaining % 2 == 0;
    if top.map && !is_key {
        out.push(':');
    } else if !top.first {
        out.push(',');
    }
    top.first = false;
    top.remaining -= 1;
    is_key
}

fn close_finished(open: &mut Vec<Open>, out: &mut String) {
    while let Some(top) = open.pop_if(|top| top.remaining == 0) {
        out.push(if top.map { '}' } else { ']' });
    }
}

/// Writes a map key. A scalar that is not a text becomes the text of its JSON. An array or a map becomes its bytes in
/// base64: JSON nested in JSON text would double its backslashes with each level.
fn key(reader: &mut Reader<'_>, out: &mut String) -> Result<Option<Open>, usize> {
    let start = reader.at;
    let mut written = String::new();
    if let Some(open) = value(reader, &mut written)? {
        skip(reader, open.remaining)?;
        text(&BASE64_STANDARD.encode(&reader.bytes[start..reader.at]), out);
    } else if written.starts_with('"') {
        out.push_str(&written);
    } else {
        text(&written, out);
    }
    Ok(None)
}

/// Reads this many values, and everything in them.
fn skip(reader: &mut Reader<'_>, mut values: u64) -> Result<(), usize> {
    let mut unused = String::new();
    while values > 0 {
        unused.clear();
        let opened = value(reader, &mut unused)?.map_or(0, |open| open.remaining);
        values += opened;
        values -= 1;
    }
    Ok(())
}

/// Writes a scalar, or opens an array or a map.
fn value(reader: &mut Reader<'_>, out: &mut String) -> Result<Option<Open>, usize> {
    let start = reader.at;
    let marker = reader.byte()?;
    match marker {
        0x00..=0x7f => number(marker, out),
        0xe0..=0xff => number(marker as i8, out),
        0xc0 => out.push_str("null"),
        0xc2 => out.push_str("false"),
        0xc3 => out.push_str("true"),
        0xca..=0xd3 => numeric(marker, reader, out)?,
        0xc4..=0xc6 => {
            let len = reader.uint(1 << (marker - 0xc4))?;
            binary(reader.take(len)?, out);
        }
        0xa0..=0xbf => string(reader, u64::from(marker & 0x1f), out)?,
        0xd9..=0xdb => {
            let len = reader.uint(1 << (marker - 0xd9))?;
            string(reader, len, out)?;
        }
        0xd4..=0xd8 => extension(reader, 1 << (marker - 0xd4), out)?,
        0xc7..=0xc9 => {
            let len = reader.uint(1 << (marker - 0xc7))?;
            extension(reader, len, out)?;
        }
        0x80..=0x8f => return Ok(Some(start_map(u64::from(marker & 0x0f), out))),
        0x90..=0x9f => return Ok(Some(start_array(u64::from(marker & 0x0f), out))),
        0xdc | 0xdd => {
            let len = reader.uint(2 << (marker - 0xdc))?;
            return Ok(Some(start_array(len, out)));
        }
        0xde | 0xdf => {
            let len = reader.uint(2 << (marker - 0xde))?;
            return Ok(Some(start_map(len, out)));
        }
        0xc1 => return Err(start),
    }
    Ok(None)
}

fn start_map(pairs: u64, out: &mut String) -> Open {
    out.push('{');
    Open { remaining: pairs * 2, map: true, first: true }
}

fn start_array(len: u64, out: &mut String) -> Open {
    out.push('[');
    Open { remaining: len, map: false, first: true }
}

fn number(n: impl std::fmt::Display, out: &mut String) {
    write!(out, "{n}").expect("writing to a String does not fail");
}

/// Markers 0xca to 0xd3: floats, then unsigned, then signed integers.
fn numeric(marker: u8, reader: &mut Reader<'_>, out: &mut String) -> Result<(), usize> {
    match marker {
        0xca => float(f32::from_bits(reader.uint(4)? as u32), out),
        0xcb => float(f64::from_bits(reader.uint(8)?), out),
        0xcc..=0xcf => number(reader.uint(1 << (marker - 0xcc))?, out),
        0xd0 => number(reader.uint(1)? as i8, out),
        0xd1 => number(reader.uint(2)? as i16, out),
        0xd2 => number(reader.uint(4)? as i32, out),
        _ => number(reader.uint(8)? as i64, out),
    }
    Ok(())
}

/// The shortest text that reads back as the same float.
fn float(x: impl Into<f64> + std::fmt::Debug + Copy, out: &mut String) {
    let wide: f64 = x.into();
    if wide.is_finite() {
        write!(out, "{x:?}").expect("writing to a String does not fail");
    } else if wide.is_nan() {
        out.push_str("\"NaN\"");
    } else {
        out.push_str(if wide > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" });
    }
}

fn string(reader: &mut Reader<'_>, len: u64, out: &mut String) -> Result<(), usize> {
    let start = reader.at;
    let bytes = reader.take(len)?;
    text(std::str::from_utf8(bytes).map_err(|e| start + e.valid_up_to())?, out);
    Ok(())
}

fn binary(bytes: &[u8], out: &mut String) {
    match std::str::from_utf8(bytes) {
        Ok(utf8) => text(utf8, out),
        Err(_) => text(&BASE64_STANDARD.encode(bytes), out),
    }
}

fn extension(reader: &mut Reader<'_>, len: u64, out: &mut String) -> Result<(), usize> {
    let kind = reader.byte()? as i8;
    let data = BASE64_STANDARD.encode(reader.take(len)?);
    write!(out, r#"{{"ext":{kind},"data":"{data}"}}"#).expect("writing to a String does not fail");
    Ok(())
}

fn text(s: &str, out: &mut String) {
    let quoted = serde_json::to_string(s).expect("text always has a JSON form");
    out.push_str(&quoted);
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: u64) -> Result<&'a [u8], usize> {
        let len = usize::try_from(len).map_err(|_| self.at)?;
        let taken = self.bytes[self.at..].get(..len).ok_or(self.at)?;
        self.at += len;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, usize> {
        Ok(self.take(1)?[0])
    }

    /// A big-endian unsigned integer of `width` bytes, at most 8.
    fn uint(&mut self, width: u64) -> Result<u64, usize> {
        Ok(self.take(width)?.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)))
    }
}

#[cfg(test)]
mod tests {
    use super::transcode;

    #[track_caller]
    fn check(bytes: &[u8], json: &str) {
        assert_eq!(transcode(bytes).as_deref(), Ok(json));
    }

    #[test]
    fn numbers_keep_their_digits() {
        check(b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615");
        check(b"\xd3\x80\0\0\0\0\0\0\0", "-9223372036854775808");
        check(b"\xd0\x80", "-128");
        check(b"\xff", "-1");
        check(b"\xca\x3d\xcc\xcc\xcd", "0.1");
        check(b"\xcb\x40\x3e\x5d\x3b\x7d\x2d\x43\x9b", "30.36418897967415");
    }

    #[test]
    fn values_without_a_json_equivalent() {
        check(b"\xcb\x7f\xf8\0\0\0\0\0\0", r#""NaN""#);
        check(b"\xca\xff\x80\0\0", r#""-Infinity""#);
        check(b"\xc4\x02\xff\xfe", r#""//4=""#);
        check(b"\xc4\x02hi", r#""hi""#);
        check(b"\xd4\x05\xaa", r#"{"ext":5,"data":"qg=="}"#);
        check(b"\x82\x01\xc3\xc0\xc2", r#"{"1":true,"null":false}"#);
        check(b"\x82\x92\x01\x90\xc3\xa1b\xc2", r#"{"kgGQ":true,"b":false}"#);
    }

    #[test]
    fn nested_containers_are_separated() {
        check(b"\x82\xa1a\x93\x01\x90\x80\xa1b\x81\xa1c\xc0", r#"{"a":[1,[],{}],"b":{"c":null}}"#);
        check(b"\xdc\x00\x02\xa1\"\xd9\x01\n", r#"["\"","\n"]"#);
    }

    #[test]
    fn depth_does_not_cost_stack() {
        let mut deep = vec![0x91; 1_000_000];
        deep.push(0xc0);
        assert_eq!(transcode(&deep).unwrap().len(), 2_000_004);
    }

    #[test]
    fn malformed_names_the_byte() {
        assert_eq!(transcode(b"\x92\x01\xc1"), Err(2));
        assert_eq!(transcode(b"\xa5abc"), Err(1));
        assert_eq!(transcode(b"\x01\x02"), Err(1));
        assert_eq!(transcode(b"\xdf\xff\xff\xff\xff"), Err(5));
        assert_eq!(transcode(b"\xa2\xff\xfe"), Err(1));
        assert_eq!(transcode(b""), Err(0));
        assert_eq!(transcode(b"\x81\x92\x01"), Err(3));
    }
}
