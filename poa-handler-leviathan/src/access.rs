//! Access control: the token, and requests from web pages.

use aws_lc_rs::{constant_time, digest};
use http::header::{AUTHORIZATION, ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderValue};
use percent_encoding::percent_decode_str;
use poa_core::config::Secret;

use crate::page;

/// How a page says its token in the handshake of a WebSocket, where it cannot set headers. Characters that a subprotocol cannot have are
/// percent-encoded.
const BEARER_PROTOCOL: &str = "bearer.";

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// No token, or another.
    Unauthorized,
    /// A web page of another host, where no token is asked for.
    FromPage,
}

/// Checks tokens, if there is one.
pub(crate) struct Access {
    /// A comparison of hashes takes the same time for guesses of any length.
    token: Option<digest::Digest>,
}

impl Access {
    pub(crate) fn new(token: Option<&Secret>) -> Self {
        let hash = |token: &Secret| digest::digest(&digest::SHA256, token.expose().as_bytes());
        Self { token: token.map(hash) }
    }

    pub(crate) fn needs_token(&self) -> bool {
        self.token.is_some()
    }

    /// Without a token, any program of this machine may call, but no page from elsewhere: browsers send requests for it, and a name can be made to
    /// point here after the page was loaded.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Denied> {
        let Some(token) = &self.token else {
            let foreign = headers.get(ORIGIN).is_some_and(|origin| !poa_http::is_local(origin));
            return if foreign { Err(Denied::FromPage) } else { Ok(()) };
        };
        let is_token = |guess: &[u8]| {
            let guess = digest::digest(&digest::SHA256, guess);
            constant_time::verify_slices_are_equal(guess.as_ref(), token.as_ref()).is_ok()
        };
        let is_right = match bearer(headers) {
            Some(guess) => is_token(guess.as_bytes()),
            None => protocol(headers).is_some_and(|guess| {
                let decoded: Vec<u8> = percent_decode_str(guess).collect();
                is_token(guess.as_bytes()) || is_token(&decoded)
            }),
        };
        if is_right { Ok(()) } else { Err(Denied::Unauthorized) }
    }
}

/// The token of an `Authorization: Bearer …` header, the scheme in any letter case.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim)
}

fn protocol(headers: &HeaderMap) -> Option<&str> {
    protocols(headers).find_map(|protocol| protocol.strip_prefix(BEARER_PROTOCOL))
}

/// The subprotocol to choose: a browser gives the connection up if none of those it named is. One without the token is preferred.
pub(crate) fn chosen_protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let plain =
        protocols(headers).find(|protocol| ["leviathan", page::PROTOCOL].contains(protocol));
    let chosen = plain.or_else(|| protocols(headers).find(|p| p.starts_with(BEARER_PROTOCOL)))?;
    HeaderValue::from_str(chosen).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(http::HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_token_opens() {
        let access = Access::new(Some(&Secret::new("12345678")));
        let check = |pairs: &[(http::HeaderName, &'static str)]| access.check(&headers(pairs));
        assert_eq!(check(&[]), Err(Denied::Unauthorized));
        assert_eq!(check(&[(AUTHORIZATION, "Bearer 1234567")]), Err(Denied::Unauthorized));
        assert_eq!(check(&[(AUTHORIZATION, "bearer 12345678")]), Ok(()));
        assert_eq!(check(&[(SEC_WEBSOCKET_PROTOCOL, "leviathan, bearer.12345678")]), Ok(()));
        assert_eq!(check(&[(SEC_WEBSOCKET_PROTOCOL, "bearer.1234567%38")]), Ok(()));
        assert_eq!(check(&[(AUTHORIZATION, "Bearer 12345678"), (ORIGIN, "https://x.org")]), Ok(()));
    }

    #[test]
    fn without_a_token_pages_of_other_hosts_are_refused() {
        let access = Access::new(None);
        let from = |origin| access.check(&headers(&[(ORIGIN, origin)]));
        assert_eq!(access.check(&HeaderMap::new()), Ok(()));
        for local in ["http://localhost:3000", "http://127.0.0.1:8081", "http://[::1]:1"] {
            assert_eq!(from(local), Ok(()), "{local}");
        }
        for foreign in ["https://example.org", "null", "http://localhost.example.org", "file://"] {
            assert_eq!(from(foreign), Err(Denied::FromPage), "{foreign}");
        }
    }

    #[test]
    fn the_subprotocol_without_the_token_is_preferred() {
        let both = headers(&[(SEC_WEBSOCKET_PROTOCOL, "bearer.x, leviathan")]);
        assert_eq!(chosen_protocol(&both).unwrap(), "leviathan");
        let one = headers(&[(SEC_WEBSOCKET_PROTOCOL, "bearer.x")]);
        assert_eq!(chosen_protocol(&one).unwrap(), "bearer.x");
        assert_eq!(chosen_protocol(&HeaderMap::new()), None);
    }
}
