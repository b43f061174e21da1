//! Checks of a request's head beyond hyper's: if RFC 9112 leaves it ambiguous, the request is refused.

use http::header::{AUTHORIZATION, HOST, TRANSFER_ENCODING};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Request, Version};

/// The fault in the head of a request, if there is one.
pub(crate) fn problem<B>(request: &Request<B>) -> Option<&'static str> {
    let (version, head) = (request.version(), Head::of(request.headers()));
    host(head.host, version)
        .or_else(|| authorization(head.authorization))
        .or_else(|| transfer_encoding(head.transfer_encoding, version))
}

/// The fields that are checked, collected in one pass: every request pays for it.
#[derive(Default)]
struct Head<'a> {
    host: Field<'a>,
    authorization: Field<'a>,
    transfer_encoding: Field<'a>,
}

/// A field that may occur at most once.
#[derive(Clone, Copy, Default)]
struct Field<'a> {
    first: Option<&'a HeaderValue>,
    repeated: bool,
}

impl<'a> Head<'a> {
    fn of(headers: &'a HeaderMap) -> Self {
        let mut head = Self::default();
        for (name, value) in headers {
            let field = match name {
                name if *name == HOST => &mut head.host,
                name if *name == AUTHORIZATION => &mut head.authorization,
                name if *name == TRANSFER_ENCODING => &mut head.transfer_encoding,
                _ => continue,
            };
            field.repeated = field.first.is_some();
            field.first = field.first.or(Some(value));
        }
        head
    }
}

/// RFC 9112, section 3.2: exactly one `Host` in HTTP/1.1, at most one before, and a valid one.
fn host(host: Field<'_>, version: Version) -> Option<&'static str> {
    match host.first {
        None if version == Version::HTTP_11 => Some("the header `Host` is missing"),
        Some(_) if host.repeated => Some("the header `Host` must not be repeated"),
        Some(host) if !is_authority(host) => Some("the header `Host` is not valid"),
        _ => None,
    }
}

/// A client whose target has no authority sends an empty `Host`.
fn is_authority(host: &HeaderValue) -> bool {
    host.is_empty()
        || Authority::try_from(host.as_bytes()).is_ok_and(|host| !host.as_str().contains('@'))
}

/// Two would identify two different clients. RFC 9110, section 5.3: only fields that are lists may be repeated.
fn authorization(authorization: Field<'_>) -> Option<&'static str> {
    authorization.repeated.then_some("the header `Authorization` must not be repeated")
}

/// RFC 9112, sections 6.1 and 7: only `chunked`, once and alone, is supported; HTTP/1.0 has none.
fn transfer_encoding(codings: Field<'_>, version: Version) -> Option<&'static str> {
    let first = codings.first?;
    if version != Version::HTTP_11 {
        return Some("HTTP/1.0 has no `Transfer-Encoding`");
    }
    let chunked = first.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    let alone = chunked && !codings.repeated;
    (!alone).then_some("the only `Transfer-Encoding` supported is `chunked`, once")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(version: Version, headers: &[(&str, &str)]) -> Option<&'static str> {
        let request = Request::builder().version(version);
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        problem(&request.body(()).unwrap())
    }

    const HOST: (&str, &str) = ("host", "x:1");

    #[test]
    fn unambiguous_heads_are_accepted() {
        let fine = [
            (Version::HTTP_11, vec![HOST]),
            (Version::HTTP_11, vec![("host", "")]),
            (Version::HTTP_11, vec![("host", "[::1]:4002")]),
            (Version::HTTP_10, vec![]),
            (Version::HTTP_11, vec![HOST, ("authorization", "Bearer a")]),
            (Version::HTTP_11, vec![HOST, ("transfer-encoding", "Chunked")]),
        ];
        for (version, headers) in fine {
            assert_eq!(of(version, &headers), None, "{headers:?}");
        }
    }

    #[test]
    fn ambiguous_heads_are_refused() {
        let te = |value| vec![HOST, ("transfer-encoding", value)];
        let refused = [
            (Version::HTTP_11, vec![]),
            (Version::HTTP_11, vec![HOST, HOST]),
            (Version::HTTP_10, vec![HOST, HOST]),
            (Version::HTTP_11, vec![("host", "a b")]),
            (Version::HTTP_11, vec![("host", "a@b")]),
            (Version::HTTP_11, vec![HOST, ("authorization", "a"), ("authorization", "b")]),
            (Version::HTTP_11, te("gzip, chunked")),
            (Version::HTTP_11, te("chunked, chunked")),
            (Version::HTTP_11, te("identity")),
            (Version::HTTP_11, [te("chunked"), te("chunked")].concat()[1..].to_vec()),
            (Version::HTTP_10, te("chunked")),
        ];
        for (version, headers) in refused {
            assert!(of(version, &headers).is_some(), "{headers:?}");
        }
    }
}
