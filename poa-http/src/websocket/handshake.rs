//! The opening handshake (RFC 6455, section 4.2).

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    ALLOW, CONNECTION, CONTENT_TYPE, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use poa_core::MemoryBudget;

use super::WebSocket;
use super::socket::following;
use crate::Body;

/// The constant that the key of the client is hashed with (RFC 6455, section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The options of a session.
#[derive(Clone, Debug)]
pub struct Options {
    pub(super) max_message: usize,
    pub(super) memory: Option<MemoryBudget>,
    protocols: Vec<&'static str>,
}

impl Default for Options {
    /// Messages of 64 KiB at most, no budget, no subprotocol.
    fn default() -> Self {
        Self { max_message: 64 << 10, memory: None, protocols: Vec::new() }
    }
}

impl Options {
    /// The largest accepted message, in bytes.
    #[must_use]
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes;
        self
    }

    /// Reserves the memory of large messages from this budget, as they arrive: of the received part of an incomplete message,
    /// once that exceeds 4 KiB. It is charged to the sender's [share](crate::Shares) as well.
    #[must_use]
    pub fn memory(mut self, budget: MemoryBudget) -> Self {
        self.memory = Some(budget);
        self
    }

    /// A supported subprotocol. The first one that client and server share is chosen, in the order of the client.
    #[must_use]
    pub fn protocol(mut self, name: &'static str) -> Self {
        self.protocols.push(name);
        self
    }
}

/// The reason why a request does not open a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Handshake {
    /// 405: not `GET`.
    #[error("method not allowed; allowed: GET")]
    Method,
    /// 426: the request does not ask for WebSocket.
    #[error(
        "this path speaks WebSocket; ask for it with `Connection: Upgrade` and `Upgrade: websocket`"
    )]
    NoUpgrade,
    /// 426: a version other than 13.
    #[error("Sec-WebSocket-Version must be 13")]
    Version,
    /// 400: no key, or one that is not 16 bytes in base64.
    #[error("Sec-WebSocket-Key must be 16 bytes in base64")]
    Key,
}

impl Handshake {
    /// The status of the response.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoUpgrade | Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::Key => StatusCode::BAD_REQUEST,
        }
    }

    /// The response to the client: a JSON object with `error` and `message`.
    #[must_use]
    pub fn answer(self) -> Response<String> {
        let code = match self {
            Self::Method => "method_not_allowed",
            Self::NoUpgrade | Self::Version => "upgrade_required",
            Self::Key => "bad_handshake",
        };
        let mut answer = Response::new(format!(r#"{{"error":"{code}","message":"{self}"}}"#));
        *answer.status_mut() = self.status();
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match self {
            Self::Method => drop(headers.insert(ALLOW, HeaderValue::from_static("GET"))),
            Self::NoUpgrade | Self::Version => require_upgrade(headers),
            Self::Key => {}
        }
        answer
    }
}

/// Names the required protocol or version (RFC 9110, section 15.5.22; RFC 6455, section 4.4).
fn require_upgrade(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
}

/// Answers a request to open a WebSocket session.
///
/// Return the response, with any body, from the service of the [`Server`](crate::Server). Once it is sent, `session` is
/// called, and its future runs as a task of that server. If the connection ends before that, `session` is never called.
///
/// Headers may be added to the response. The caller has to authorise the request first: browsers let any page open a
/// WebSocket and send the cookies of its user along, so if cookies authorise, check `Origin`.
///
/// # Errors
/// When the request is not a WebSocket handshake; [`Handshake::answer`] is the response for the client.
pub fn upgrade<F, S>(
    request: &mut Request<Body>,
    options: &Options,
    session: F,
) -> Result<Response<()>, Handshake>
where
    F: FnOnce(WebSocket) -> S + Send + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    let accept = check(request)?;
    let mut answer = Response::new(());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(protocol) = choose(request.headers(), &options.protocols) {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    let pending = hyper::upgrade::on(&mut *request);
    request.body().follow_with(following(pending, options, session));
    Ok(answer)
}

/// The value of `Sec-WebSocket-Accept` for a valid request.
fn check(request: &Request<Body>) -> Result<HeaderValue, Handshake> {
    let headers = request.headers();
    if request.method() != Method::GET {
        return Err(Handshake::Method);
    }
    let asks = lists(headers, CONNECTION, "upgrade") && lists(headers, UPGRADE, "websocket");
    if !asks || request.version() != Version::HTTP_11 {
        return Err(Handshake::NoUpgrade);
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Handshake::Version);
    }
    accept(headers.get(SEC_WEBSOCKET_KEY).ok_or(Handshake::Key)?)
}

fn accept(key: &HeaderValue) -> Result<HeaderValue, Handshake> {
    let key = key.as_bytes();
    if STANDARD.decode(key).map_or(0, |nonce| nonce.len()) != 16 {
        return Err(Handshake::Key);
    }
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID.as_bytes()].concat());
    HeaderValue::from_str(&STANDARD.encode(hash)).map_err(|_| Handshake::Key)
}

/// Whether a header, which may occur several times, lists this token.
fn lists(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|found| found.eq_ignore_ascii_case(token))
}

fn choose(headers: &HeaderMap, known: &[&'static str]) -> Option<&'static str> {
    tokens(headers, SEC_WEBSOCKET_PROTOCOL)
        .find_map(|asked| known.iter().find(|known| **known == asked).copied())
}

fn tokens(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_example_of_the_rfc() {
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept(&key).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        for bad in ["", "dGhlIHNhbXBsZQ==", "not base64 at all!!!!!!=="] {
            assert_eq!(accept(&HeaderValue::from_static(bad)), Err(Handshake::Key), "{bad}");
        }
    }

    #[test]
    fn subprotocols_are_chosen_in_the_order_of_the_client() {
        let mut headers = HeaderMap::new();
        headers.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("a, b"));
        headers.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("c"));
        assert_eq!(choose(&headers, &["c", "b"]), Some("b"));
        assert_eq!(choose(&headers, &["d"]), None);
    }
}
