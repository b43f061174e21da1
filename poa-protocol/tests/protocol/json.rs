//! RFC 8259, rule by rule.

use poa_protocol::{CallKind, Format, Limits, Malformed, Problem, Refusal, decode, decode_fields};

use crate::common::well_formed;

/// Reads `value` as the value of a member, since a body that is not an object is refused anyway.
fn accepts(value: &[u8]) -> bool {
    well_formed(Format::Json, &[b"{\"x\": ", value, b" }"].concat())
}

#[test]
fn accepts_every_kind_of_value() {
    let values = [
        "0",
        "-0",
        "10",
        "1.5",
        "-0.0e-0",
        "1E+9",
        "1e999",
        "-1e-999",
        "123456789012345678901234567890",
        "true",
        "false",
        "null",
        "{}",
        "[]",
        "[ ]",
        "{ }",
        "[1,2]",
        "[[],{}]",
        r#"{"a":[{"b":1}],"c":2}"#,
        r#""""#,
        r#""plain""#,
        r#""\"\\\/\b\f\n\r\t""#,
        r#""\u00e9\ud83d\ude00""#,
        "\"\u{7f}é😀\"",
        "\t[\r\n1 , 2\t]\n",
    ];
    for value in values {
        assert!(accepts(value.as_bytes()), "{value}");
    }
    let huge = format!("{:?}", 2f64.powi(300)).replace(".0", "");
    assert!(accepts(huge.as_bytes()));
}

#[test]
fn refuses_text_outside_of_the_grammar() {
    let values = [
        "",
        "01",
        "-",
        "+1",
        ".5",
        "1.",
        "1.e1",
        "1e",
        "1e+",
        "0x10",
        "NaN",
        "Infinity",
        "1_0",
        "--1",
        "tru",
        "True",
        "nul",
        "undefined",
        "'a'",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[",
        "]",
        "{",
        "}",
        "[}",
        "{]",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        r#"{,}"#,
        r#"{a:1}"#,
        r#"{1:1}"#,
        r#"{"a":1 "b":2}"#,
        r#"{"a" 1}"#,
        "/**/1",
        "1,",
        "\u{feff}1",
        "\u{a0}1",
        "\u{b}1",
    ];
    for value in values {
        assert!(!accepts(value.as_bytes()), "{value}");
    }
}

#[test]
fn refuses_broken_strings() {
    let strings = [
        r#"""#,
        r#""a"#,
        r#""\"#,
        r#""\""#,
        r#""\x41""#,
        r#""\'""#,
        r#""\u12""#,
        r#""\u12g4""#,
        r#""\u+123""#,
        r#""\U0041""#,
        "\"tab\t\"",
        "\"nul\0\"",
        "\"new\nline\"",
        "\"12345678\u{1f}\"",
    ];
    for string in strings {
        assert!(!accepts(string.as_bytes()), "{string}");
    }
}

#[test]
fn refuses_half_of_a_surrogate_pair() {
    let strings = [
        r#""\ud800""#,
        r#""\udc00""#,
        r#""\ud800\ud800""#,
        r#""\udc00\ud800""#,
        r#""\ud800x""#,
        r#""\ud800\n""#,
        r#""\ud800\u0041""#,
        r#""\uDBFF""#,
        r#""\uDFFF""#,
    ];
    for string in strings {
        assert!(!accepts(string.as_bytes()), "{string}");
    }
    for string in [r#""\ud7ff""#, r#""\ue000""#, r#""\uDBFF\uDFFF""#] {
        assert!(accepts(string.as_bytes()), "{string}");
    }
}

#[test]
fn refuses_text_that_is_not_utf8() {
    let sequences: [&[u8]; 6] =
        [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\x80"];
    for bytes in sequences {
        assert!(!accepts(&[b"\"", bytes, b"\""].concat()), "{bytes:x?}");
        assert!(!well_formed(Format::Json, &[b"{}", bytes].concat()), "{bytes:x?}");
    }
}

/// A special byte must be found wherever it falls in a group of eight.
#[test]
fn finds_the_end_of_a_string_at_every_offset() {
    for length in 0..40 {
        let filler = "é".repeat(length / 2) + &"x".repeat(length % 2);
        assert!(accepts(format!("\"{filler}\"").as_bytes()));
        assert!(accepts(format!("\"{filler}\\n\"").as_bytes()));
        assert!(!accepts(format!("\"{filler}\u{1}\"").as_bytes()));
        assert!(!accepts(format!("\"{filler}").as_bytes()));
        assert!(accepts(format!("\"{filler}\u{80}\u{81}\"").as_bytes()));
    }
}

#[test]
fn allows_blanks_around_the_value_and_nothing_else() {
    assert!(well_formed(Format::Json, b" \t\r\n{} \t\r\n"));
    for body in ["{}{}", "{} x", "{},", "{}\0"] {
        assert!(!well_formed(Format::Json, body.as_bytes()), "{body}");
    }
    assert!(!well_formed(Format::Json, b"  "));
}

#[test]
fn counts_depth_from_the_outermost() {
    for (open, close) in [("[", "]"), ("{\"k\":", "}")] {
        let nested = |depth: usize| {
            let inner = if open == "[" { "" } else { "1" };
            let body = [&open.repeat(depth - 1), inner, &close.repeat(depth - 1)].concat();
            format!("{{\"x\":{}}}", if body.is_empty() { "1" } else { &body })
        };
        assert!(well_formed(Format::Json, nested(128).as_bytes()), "{open}");
        assert!(!well_formed(Format::Json, nested(129).as_bytes()), "{open}");
        assert!(!well_formed(Format::Json, nested(1_000_000).as_bytes()), "{open}");
    }
}

#[test]
fn depth_is_counted_again_after_a_container_ends() {
    let wide = format!("{{\"x\":[{}]}}", vec!["[[{}]]"; 1000].join(","));
    let limits = Limits { max_depth: 5, ..Limits::default() };
    assert!(decode_fields(Format::Json, wide.as_bytes(), &limits, []).is_ok());
    let limits = Limits { max_depth: 4, ..Limits::default() };
    assert!(decode_fields(Format::Json, wide.as_bytes(), &limits, []).is_err());
}

#[test]
fn the_deepest_limit_holds_mixed_containers() {
    let limits = Limits { max_depth: u8::MAX, ..Limits::default() };
    let body = format!("{}0{}", r#"{"k":["#.repeat(127), "]}".repeat(127));
    assert!(decode_fields(Format::Json, body.as_bytes(), &limits, []).is_ok());
    let wrong = format!("{}0{}", r#"{"k":["#.repeat(127), "}]".repeat(127));
    assert!(decode_fields(Format::Json, wrong.as_bytes(), &limits, []).is_err());
}

#[test]
fn reports_the_offset_of_the_fault() {
    let cases: [(&[u8], usize, Problem); 14] = [
        (br#"{"id":"#, 6, Problem::UnexpectedEnd),
        (br#"{"id":}"#, 6, Problem::ExpectedValue),
        (br#"{"id" 1}"#, 6, Problem::ExpectedColon),
        (br#"{id:1}"#, 1, Problem::ExpectedName),
        (br#"{"id":1 2}"#, 8, Problem::ExpectedCommaOrBrace),
        (br#"{"id":[1 2]}"#, 9, Problem::ExpectedCommaOrBracket),
        (b"{\"id\":\"a\nb\"}", 8, Problem::ControlCharacter),
        (br#"{"id":"\q"}"#, 7, Problem::Escape),
        (br#"{"id":"\ud800"}"#, 7, Problem::LoneSurrogate),
        (br#"{"id":1.x}"#, 8, Problem::Number),
        (b"{\"id\":\"\xff\"}", 7, Problem::Utf8),
        (b"{} 1", 3, Problem::TrailingBytes),
        (b" ", 1, Problem::UnexpectedEnd),
        (br#"{"id":"a"#, 8, Problem::UnexpectedEnd),
    ];
    for (body, offset, problem) in cases {
        let refusal = decode(CallKind::Ping, Format::Json, body, &Limits::default()).unwrap_err();
        let format = Format::Json;
        let expected = Refusal::Malformed(Malformed { format, offset, problem });
        assert_eq!(refusal, expected, "{}", String::from_utf8_lossy(body));
    }
}
