//! Finds JSON that jsonb cannot hold, before the server would refuse it or silently lose a part.

use std::borrow::Cow;
use std::ops::Range;

use super::field::Done;
use super::numeric;

/// The only key of the object that wraps JSON that jsonb cannot hold; its value is the text of that JSON.
const WRAPPER: &str = "$json";

/// The deepest nesting that is passed to jsonb. The server's stack has room for about ten times as much.
const MAX_DEPTH: usize = 512;

/// JSON for a column of type jsonb.
#[derive(Debug)]
pub(super) struct Held<'a> {
    pub(super) text: Cow<'a, str>,
    pub(super) done: Done,
}

/// The same JSON if jsonb can hold it, or an object with its text.
///
/// `\u0000` becomes `\ufffd`. JSON is wrapped if it has a repeated key, half of a surrogate pair, a number beyond NUMERIC or too deep a
/// nesting, or could be mistaken for a wrapper itself.
pub(super) fn hold(json: &str) -> Held<'_> {
    let text = without_nul(json);
    let replaced_nul = matches!(text, Cow::Owned(_));
    let mut scan = Scan { json: &text, at: 0, open: Vec::new(), keys: Vec::new() };
    if scan.is_held() {
        return Held { text, done: Done { replaced_nul, wrapped: false } };
    }
    let wrapper = serde_json::json!({ WRAPPER: json }).to_string();
    Held { text: wrapper.into(), done: Done { replaced_nul: false, wrapped: true } }
}

/// Replaces the escape of NUL. Owned if there was one.
fn without_nul(json: &str) -> Cow<'_, str> {
    const NUL: &str = "\\u0000";
    if !json.contains(NUL) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    let mut found = false;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        // An escaped backslash may precede what only looks like the escape of NUL.
        let (escape, with) = if rest[at..].starts_with(NUL) {
            (NUL.len(), "\\ufffd")
        } else {
            (2, &rest[at..at + 2])
        };
        found |= escape > 2;
        out.push_str(with);
        rest = &rest[at + escape..];
    }
    out.push_str(rest);
    if found { Cow::Owned(out) } else { Cow::Borrowed(json) }
}

/// Scans JSON that is well-formed.
struct Scan<'a> {
    json: &'a str,
    at: usize,
    /// For each open object, the start of its keys in `keys`; `None` for an array.
    open: Vec<Option<usize>>,
    keys: Vec<Cow<'a, str>>,
}

impl<'a> Scan<'a> {
    fn is_held(&mut self) -> bool {
        // True where a text is a key: after the brace or the comma of an object.
        let mut key = false;
        while let Some(byte) = self.json.as_bytes().get(self.at) {
            let held = match byte {
                b'"' => {
                    let text = self.string();
                    let held = !text.contains('\\') || has_whole_characters(text);
                    if std::mem::take(&mut key) && held {
                        self.keys.push(unescaped(text));
                    }
                    held
                }
                b'-' | b'0'..=b'9' => numeric::holds(self.number()),
                _ => {
                    self.at += 1;
                    let held = self.structure(*byte);
                    key = matches!(byte, b'{' | b',') && matches!(self.open.last(), Some(Some(_)))
                        || key && byte.is_ascii_whitespace();
                    held
                }
            };
            if !held {
                return false;
            }
        }
        true
    }

    fn structure(&mut self, byte: u8) -> bool {
        match byte {
            b'{' => self.open.push(Some(self.keys.len())),
            b'[' => self.open.push(None),
            b'}' => return self.close_object(),
            b']' => {
                self.open.pop();
            }
            _ => {}
        }
        self.open.len() <= MAX_DEPTH
    }

    /// False if a key occurs twice in the object, or if it looks like a wrapper.
    fn close_object(&mut self) -> bool {
        let begin = self.open.pop().flatten().unwrap_or(0);
        let keys = &mut self.keys[begin..];
        keys.sort_unstable();
        let unique = keys.windows(2).all(|pair| pair[0] != pair[1]);
        let wrapper = self.open.is_empty() && matches!(keys, [key] if key == WRAPPER);
        self.keys.truncate(begin);
        unique && !wrapper
    }

    /// The text between the quotes; moves after them.
    fn string(&mut self) -> &'a str {
        let begin = self.at + 1;
        let bytes = self.json.as_bytes();
        let mut end = begin;
        while bytes[end] != b'"' {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        self.at = end + 1;
        &self.json[begin..end]
    }

    fn number(&mut self) -> &'a str {
        let rest = &self.json[self.at..];
        let part = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
        let Range { start, end } = self.at..self.at + rest.find(|c| !part(c)).unwrap_or(rest.len());
        self.at = end;
        &self.json[start..end]
    }
}

/// False if half of a surrogate pair is alone.
fn has_whole_characters(inside: &str) -> bool {
    // The other half of a pair is not checked by itself, so serde_json agrees about what is well-formed.
    serde_json::from_str::<String>(&format!("\"{inside}\"")).is_ok()
}

fn unescaped(inside: &str) -> Cow<'_, str> {
    if !inside.contains('\\') {
        return Cow::Borrowed(inside);
    }
    serde_json::from_str(&format!("\"{inside}\"")).map_or(Cow::Borrowed(inside), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stays(json: &str) -> bool {
        matches!(hold(json), Held { text: Cow::Borrowed(text), .. } if text == json)
    }

    #[test]
    fn ordinary_json_is_unchanged() {
        let deep = format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        for json in [
            "{}",
            "null",
            "\"text\"",
            r#" { "a" : [1, {"a": 2}, "a"] , "b": {"a": {}} } "#,
            r#"{"a":"\ud83e\udd80 \\u0000 \" \\"}"#,
            "12345678901234567890123.5e10",
            &deep,
            r#"{"$json":1,"more":2}"#,
            r#"{"a":{"$json":1}}"#,
            r#"["a","a","a"]"#,
        ] {
            assert!(stays(json), "{json}");
        }
    }

    #[test]
    fn json_that_jsonb_cannot_hold_is_wrapped_unchanged() {
        let deep = format!("{}{}", "[".repeat(MAX_DEPTH + 1), "]".repeat(MAX_DEPTH + 1));
        for json in [
            r#"{"a":1,"a":2}"#,
            r#"[{"b":{"a":1, "\u0061" :2}}]"#,
            r#"{"a":"\ud83e"}"#,
            r#"{"\udd80":1}"#,
            "[1e400000]",
            "1e-20000",
            &deep,
            r#"{"$json":"{}"}"#,
            r#"{ "\u0024json" : 1 }"#,
            r#"{"a\u0000":1,"a\ufffd":2}"#,
        ] {
            let held = hold(json);
            assert!(held.done.wrapped && !held.done.replaced_nul, "{json}");
            let wrapper: serde_json::Value = serde_json::from_str(&held.text).unwrap();
            assert_eq!(wrapper, serde_json::json!({ "$json": json }));
        }
    }

    #[test]
    fn the_escape_of_nul_is_replaced() {
        let held = hold(r#"{"a\u0000":"\\u0000\\\u0000\u0000","b":"\n"}"#);
        assert_eq!(held.text, r#"{"a\ufffd":"\\u0000\\\ufffd\ufffd","b":"\n"}"#);
        assert_eq!(held.done, Done { replaced_nul: true, wrapped: false });
    }
}
