//! Access control: by the secret, or by a cookie that was given for it.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::{constant_time, digest, hmac};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::header::{COOKIE, HOST, ORIGIN};
use http::{HeaderMap, HeaderName, Uri};
use poa_core::Timestamp;
use poa_core::config::Secret;

/// How long a cookie is valid.
pub(crate) const COOKIE_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// The cookie of the page.
pub(crate) const COOKIE_NAME: &str = "poa_dashboard";

const SECRET_HEADER: HeaderName = HeaderName::from_static("wssecret");

/// The length of the expiry time, the first part of the cookie's value.
const TIME: usize = 8;

/// Checks secrets and cookies.
pub(crate) struct Access {
    /// The hash of the secret: comparing hashes takes the same time for guesses of any length.
    secret: digest::Digest,
    cookies: hmac::Key,
}

/// The credentials of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// A secret, right or wrong.
    Secret(String),
    /// A valid cookie.
    Cookie,
    /// None.
    Nothing,
}

impl Access {
    /// Access by this secret. Cookies are signed with a key of the server, which differs for each secret.
    pub(crate) fn new(secret: &Secret, key: &[u8]) -> Self {
        let secret = digest::digest(&digest::SHA256, secret.expose().as_bytes());
        let key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), secret.as_ref());
        Self { secret, cookies: hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()) }
    }

    /// Whether this is the secret, in constant time.
    pub(crate) fn is_secret(&self, guess: &str) -> bool {
        let guess = digest::digest(&digest::SHA256, guess.as_bytes());
        constant_time::verify_slices_are_equal(guess.as_ref(), self.secret.as_ref()).is_ok()
    }

    /// A cookie that is valid from now on. It reveals nothing about the secret.
    pub(crate) fn cookie(&self, now: Timestamp) -> String {
        let end = now.as_micros() + u64::try_from(COOKIE_LIFE.as_micros()).unwrap_or(u64::MAX);
        let mut value = end.to_be_bytes().to_vec();
        value.extend_from_slice(hmac::sign(&self.cookies, &end.to_be_bytes()).as_ref());
        BASE64_URL_SAFE_NO_PAD.encode(value)
    }

    fn is_cookie(&self, value: &str, now: Timestamp) -> bool {
        let Ok(value) = BASE64_URL_SAFE_NO_PAD.decode(value) else { return false };
        let Some((end, tag)) = value.split_first_chunk::<TIME>() else { return false };
        hmac::verify(&self.cookies, end, tag).is_ok() && u64::from_be_bytes(*end) > now.as_micros()
    }

    /// The credentials of a request. A cookie counts only for requests of the page itself: browsers also attach it to
    /// requests of other pages.
    pub(crate) fn offer(&self, uri: &Uri, headers: &HeaderMap) -> Offer {
        if let Some(secret) = headers.get(SECRET_HEADER) {
            return Offer::Secret(String::from_utf8_lossy(secret.as_bytes()).into_owned());
        }
        if let Some(secret) = query(uri, "secret") {
            return Offer::Secret(secret);
        }
        let now = Timestamp::now();
        if is_same_origin(headers) && cookies(headers).any(|value| self.is_cookie(value, now)) {
            return Offer::Cookie;
        }
        Offer::Nothing
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Access")
    }
}

/// Whether the request comes from a page of this server, according to the browser. A request without `Origin` is not a
/// WebSocket handshake of a browser, and other pages cannot read its answer.
fn is_same_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else {
        return !headers.contains_key("sec-websocket-key");
    };
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    matches!((origin, host), (Some((_, origin)), Some(host)) if origin.eq_ignore_ascii_case(host))
}

/// The values of the page's cookie; there can be several, from other servers on this machine.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    let pairs =
        lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| *name == COOKIE_NAME).map(|(_, value)| value)
}

/// A decoded value of the query.
pub(crate) fn query(uri: &Uri, key: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(uri.query()?.as_bytes());
    pairs.find(|(name, _)| name == key).map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn access() -> Access {
        Access::new(&Secret::new("wssecret"), b"key")
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    fn offer(access: &Access, uri: &'static str, pairs: &[(&'static str, &str)]) -> Offer {
        access.offer(&Uri::from_static(uri), &headers(pairs))
    }

    #[test]
    fn a_secret_comes_in_the_header_or_in_the_query() {
        let access = access();
        let secret = |text: &str| Offer::Secret(text.to_owned());
        assert_eq!(offer(&access, "/ws", &[("wssecret", "a b")]), secret("a b"));
        assert_eq!(offer(&access, "/ws?x=1&secret=a%20b%26", &[]), secret("a b&"));
        assert_eq!(offer(&access, "/ws?secrets=1", &[]), Offer::Nothing);
        assert!(
            access.is_secret("wssecret") && !access.is_secret("wssecre") && !access.is_secret("")
        );
    }

    #[test]
    fn a_cookie_is_bound_to_its_secret_and_time() {
        let access = access();
        let now = Timestamp::now();
        let cookie = access.cookie(now);
        assert!(access.is_cookie(&cookie, now));
        assert!(!cookie.contains("wssecret"));
        let later = Timestamp::from_micros(now.as_micros() + COOKIE_LIFE.as_micros() as u64);
        assert!(!access.is_cookie(&cookie, later));
        assert!(!Access::new(&Secret::new("another one"), b"key").is_cookie(&cookie, now));
        assert!(!Access::new(&Secret::new("wssecret"), b"other").is_cookie(&cookie, now));
        for bad in ["", "AAAA", "wssecret", &cookie[1..]] {
            assert!(!access.is_cookie(bad, now), "{bad}");
        }
    }

    #[test]
    fn a_cookie_counts_for_the_page_itself_only() {
        let access = access();
        let cookie =
            format!("a=b; {COOKIE_NAME}=old; {COOKIE_NAME}={}", access.cookie(Timestamp::now()));
        let with = |more: &[(&'static str, &str)]| {
            let pairs = [&[("cookie", &*cookie), ("host", "dash:8181")], more].concat();
            offer(&access, "/ws", &pairs)
        };
        assert_eq!(with(&[]), Offer::Cookie);
        assert_eq!(
            with(&[("origin", "https://dash:8181"), ("sec-websocket-key", "k")]),
            Offer::Cookie
        );
        assert_eq!(with(&[("sec-websocket-key", "k")]), Offer::Nothing);
        for foreign in ["https://evil", "http://dash", "null", "http://dash:8181.evil"] {
            assert_eq!(with(&[("origin", foreign)]), Offer::Nothing, "{foreign}");
        }
    }
}
