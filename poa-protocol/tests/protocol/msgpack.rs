//! The MessagePack specification, marker by marker.

use poa_protocol::{CallKind, Format, Limits, Malformed, Problem, Refusal, decode};

use crate::common::well_formed;
use crate::msgpack_properties::check_against_rmpv;

/// Reads `value` as the value of a member, since a body that is not a map is refused anyway.
fn accepts(value: &[u8]) -> bool {
    well_formed(Format::MessagePack, &[b"\x81\xa1x", value].concat())
}

/// One value for each marker that has a fixed form.
fn samples() -> Vec<Vec<u8>> {
    let with = |marker: u8, rest: &[u8]| [&[marker], rest].concat();
    let mut samples = vec![
        with(0xc0, b""),
        with(0xc2, b""),
        with(0xc3, b""),
        with(0xc4, b"\x02\xff\xfe"),
        with(0xc5, b"\x00\x01\xff"),
        with(0xc6, b"\x00\x00\x00\x01\xff"),
        with(0xc7, b"\x03\x05abc"),
        with(0xc8, b"\x00\x01\x05a"),
        with(0xc9, b"\x00\x00\x00\x00\x05"),
        with(0xd9, b"\x02\xc3\xa9"),
        with(0xda, b"\x00\x01a"),
        with(0xdb, b"\x00\x00\x00\x01a"),
        with(0xdc, b"\x00\x01\xc0"),
        with(0xdd, b"\x00\x00\x00\x01\xc0"),
        with(0xde, b"\x00\x01\xa1a\xc0"),
        with(0xdf, b"\x00\x00\x00\x01\xa1a\xc0"),
        with(0x82, b"\x01\xc0\x90\xc0"),
        with(0x92, b"\x80\x90"),
        with(0xa2, b"\xc3\xa9"),
    ];
    let numbers = [
        (0xca, 4),
        (0xcb, 8),
        (0xcc, 1),
        (0xcd, 2),
        (0xce, 4),
        (0xcf, 8),
        (0xd0, 1),
        (0xd1, 2),
        (0xd2, 4),
        (0xd3, 8),
    ];
    let fixed = [(0xd4, 2), (0xd5, 3), (0xd6, 5), (0xd7, 9), (0xd8, 17)];
    samples.extend(
        numbers.into_iter().chain(fixed).map(|(marker, width)| with(marker, &vec![0xff; width])),
    );
    samples.extend([0x00, 0x7f, 0xe0, 0xff].map(|marker| vec![marker]));
    samples
}

#[test]
fn accepts_every_marker_whole_and_refuses_it_cut_short() {
    for value in samples() {
        assert!(accepts(&value), "{value:x?}");
        for end in 0..value.len() {
            assert!(!accepts(&value[..end]), "{value:x?} cut to {end}");
        }
        assert!(!accepts(&[&value[..], &[0]].concat()), "{value:x?} and a byte");
    }
}

#[test]
fn agrees_with_rmpv_on_every_marker_and_length() {
    for (marker, filler) in (0..=u8::MAX).flat_map(|m| [0, 1, b'a', 0xc0].map(|f| (m, f))) {
        let body = [&[0x81, 0xa1, b'x', marker][..], &[filler; 40]].concat();
        for end in 3..body.len() {
            check_against_rmpv(&body[..end]);
        }
    }
}

#[test]
fn refuses_the_reserved_marker_and_broken_text() {
    for value in [
        &b"\xc1"[..],
        b"\x91\xc1",
        b"\xa1\xff",
        b"\xd9\x02\xc3\xc3",
        b"\x81\xa1\xff\xc0",
        b"\xa3\xed\xa0\x80",
    ] {
        assert!(!accepts(value), "{value:x?}");
    }
}

#[test]
fn refuses_impossible_lengths() {
    let heads: [&[u8]; 8] = [
        b"\xc6\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x01",
        b"\xdb\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xde\x00\x02\xa1a\xc0",
        b"\xdc\x00\x03\xc0\xc0",
        b"\xc5\xff\xff",
    ];
    for head in heads {
        assert!(!accepts(head), "{head:x?}");
        let nested = [&b"\x91".repeat(60)[..], head].concat();
        assert!(!accepts(&nested), "{head:x?} inside arrays");
    }
}

#[test]
fn counts_depth_from_the_outermost() {
    for unit in [&b"\x91"[..], b"\x81\xa1k", b"\xdc\x00\x01", b"\x81"] {
        let nested = |depth: usize| {
            let tail: &[u8] = if unit == b"\x81" { &[0xc0; 1_000_000] } else { b"\xc0" };
            [
                &b"\x81\xa1x"[..],
                &unit.repeat(depth - 1),
                &tail[..if unit == b"\x81" { depth } else { 1 }],
            ]
            .concat()
        };
        assert!(well_formed(Format::MessagePack, &nested(128)), "{unit:x?}");
        assert!(!well_formed(Format::MessagePack, &nested(129)), "{unit:x?}");
        assert!(!well_formed(Format::MessagePack, &nested(900_000)), "{unit:x?}");
    }
}

#[test]
fn reports_the_offset_of_the_fault() {
    let cases: [(&[u8], usize, Problem); 7] = [
        (b"", 0, Problem::UnexpectedEnd),
        (b"\xc1", 0, Problem::ReservedMarker),
        (b"\x81\xa2id\xa5ab", 5, Problem::Length),
        (b"\x81\xa2id\xa2a\xff", 6, Problem::Utf8),
        (b"\x81\xa2id\xa1a\x01", 6, Problem::TrailingBytes),
        (b"\x82\xa2id", 1, Problem::Length),
        (b"\x81\xa2id\xcd\x00", 5, Problem::UnexpectedEnd),
    ];
    for (body, offset, problem) in cases {
        let refusal =
            decode(CallKind::Ping, Format::MessagePack, body, &Limits::default()).unwrap_err();
        let format = Format::MessagePack;
        let expected = Refusal::Malformed(Malformed { format, offset, problem });
        assert_eq!(refusal, expected, "{body:x?}");
    }
}
