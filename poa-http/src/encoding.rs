//! Bodies that were compressed for transfer (RFC 9110, section 8.4).

use std::io::Read as _;

use flate2::bufread::MultiGzDecoder;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

use crate::{BodyError, Received};

/// The codings that a server accepts, for the `Accept-Encoding` header of a 415 (RFC 9110, section 12.5.3).
pub const ACCEPTED_ENCODINGS: &str = "gzip";

/// The amount that is decoded at once, before other tasks get their turn.
const STEP: u64 = 64 << 10;

/// The content coding of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encoding {
    /// Not encoded.
    Identity,
    /// gzip.
    Gzip,
}

/// The content coding of a body is not supported; the response is 415.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("content-encoding `{0}` is not supported; send gzip or none")]
pub struct UnsupportedEncoding(pub String);

impl Encoding {
    /// Reads the `Content-Encoding` header.
    ///
    /// # Errors
    /// When it names anything but `gzip`, `x-gzip` or `identity`, or several codings.
    pub fn of(headers: &HeaderMap) -> Result<Self, UnsupportedEncoding> {
        let mut values = headers.get_all(CONTENT_ENCODING).iter();
        let Some(first) = values.next() else { return Ok(Self::Identity) };
        let written = first.as_bytes().trim_ascii().to_ascii_lowercase();
        match (&*written, values.next()) {
            (b"" | b"identity", None) => Ok(Self::Identity),
            (b"gzip" | b"x-gzip", None) => Ok(Self::Gzip),
            _ => Err(UnsupportedEncoding(String::from_utf8_lossy(&written).into_owned())),
        }
    }
}

/// Decodes a body to at most `limit` bytes. Memory is reserved before each step, so that a small body that
/// becomes large costs as much as a large one.
pub(crate) async fn gunzip(received: Received, limit: u64) -> Result<Received, BodyError> {
    let (packed, mut room) = received.into_parts();
    let mut decoder = MultiGzDecoder::new(&*packed);
    let mut bytes = Vec::new();
    loop {
        let count = decoder.by_ref().take(STEP).read_to_end(&mut bytes);
        let count = count.map_err(BodyError::Encoding)? as u64;
        if count == 0 {
            return Ok(Received::owned(bytes, room));
        }
        room.grow(count)?;
        if bytes.len() as u64 > limit {
            return Err(BodyError::TooLarge { limit });
        }
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(values: &[&'static str]) -> Result<Encoding, String> {
        let values = values.iter().map(|value| (CONTENT_ENCODING, HeaderValue::from_static(value)));
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            headers.append(name, value);
        }
        Encoding::of(&headers).map_err(|UnsupportedEncoding(found)| found)
    }

    #[test]
    fn gzip_is_accepted_and_others_are_named() {
        assert_eq!(of(&[]), Ok(Encoding::Identity));
        assert_eq!(of(&["identity"]), Ok(Encoding::Identity));
        assert_eq!(of(&[" GZIP "]), Ok(Encoding::Gzip));
        assert_eq!(of(&["x-gzip"]), Ok(Encoding::Gzip));
        assert_eq!(of(&["Br"]), Err("br".to_owned()));
        assert_eq!(of(&["gzip, gzip"]), Err("gzip, gzip".to_owned()));
        assert_eq!(of(&["gzip", "br"]), Err("gzip".to_owned()));
    }
}
