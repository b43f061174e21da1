//! The span of a client, as W3C Trace Context carries it (<https://www.w3.org/TR/trace-context/#traceparent-header>).

use http::HeaderMap;
use poa_core::SenderSpan;

/// The bit of the flags for a span that is recorded.
const SAMPLED: u8 = 1;

/// The span in which a client sent this request, if it names one in the header `traceparent` and records it.
#[must_use]
pub fn sender_span(headers: &HeaderMap) -> Option<SenderSpan> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    let mut fields = text.trim().split('-');
    let mut field = || fields.next();
    let (version, trace, span, flags) = (field()?, field()?, field()?, field()?);
    let [version] = decode(version)?;
    // Later versions may append fields; 255 is not a version.
    if version == u8::MAX || (version == 0 && field().is_some()) {
        return None;
    }
    let [flags] = decode(flags)?;
    let span = SenderSpan::new(decode(trace)?, decode(span)?)?;
    (flags & SAMPLED != 0).then_some(span)
}

/// Exactly so many bytes in lower case hexadecimal digits, as the standard demands.
fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(text: &str) -> Option<SenderSpan> {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", text.parse().unwrap());
        sender_span(&headers)
    }

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn a_recorded_span_is_named() {
        for text in [
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-later",
        ] {
            let span = span(text).unwrap();
            assert_eq!(
                u128::from_be_bytes(*span.trace_id()),
                u128::from_str_radix(TRACE, 16).unwrap()
            );
            assert_eq!(u64::from_be_bytes(*span.span_id()), 0x00f0_67aa_0ba9_02b7);
        }
    }

    #[test]
    fn other_headers_are_ignored() {
        for text in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(span(text), None, "{text}");
        }
        assert_eq!(sender_span(&HeaderMap::new()), None);
    }
}
