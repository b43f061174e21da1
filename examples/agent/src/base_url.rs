//! The address of a server.

use std::fmt;
use std::str::FromStr;

use http::Uri;

/// The default address of the WebSocket handler (POA Protocol, section 4).
const DEFAULT_PATH: &str = "/ws";

/// The address of a server: `http://`, `https://`, `ws://` or `wss://`, host, port, and a path if there is one. Over HTTP it
/// stands before the calls; over WebSocket it is that of the handler, `/ws` if it is not given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl(String);

/// The reason why a text is not a valid [`BaseUrl`].
#[derive(Debug, thiserror::Error)]
#[error("{problem}; write it like http://127.0.0.1:4002 or wss://poa.example:4004/ws")]
pub struct BaseUrlError {
    problem: &'static str,
}

impl BaseUrl {
    /// True for `https://` and `wss://`.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.0.starts_with("https://") || self.0.starts_with("wss://")
    }

    /// True for `ws://` and `wss://`.
    #[must_use]
    pub fn is_websocket(&self) -> bool {
        self.0.starts_with("ws")
    }

    /// The address of a WebSocket handler, with its path.
    pub(crate) fn socket(&self) -> Uri {
        let uri = self.join("");
        if uri.path() == "/" { self.join(DEFAULT_PATH) } else { uri }
    }

    /// The address of one call, `path` beginning with a slash.
    pub(crate) fn join(&self, path: &'static str) -> Uri {
        format!("{}{path}", self.0).parse().expect("a checked base and a constant path make a URL")
    }

    /// True if the traffic stays on this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        let uri = self.join("/");
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for BaseUrl {
    type Err = BaseUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |problem| Err(BaseUrlError { problem });
        let Ok(uri) = text.parse::<Uri>() else {
            return refuse("not a URL");
        };
        let Some(scheme @ ("http" | "https" | "ws" | "wss")) = uri.scheme_str() else {
            return refuse("the URL must begin with http://, https://, ws:// or wss://");
        };
        let Some(authority) = uri.authority().filter(|authority| !authority.host().is_empty())
        else {
            return refuse("the URL has no host");
        };
        if authority.as_str().contains('@') {
            // They would appear in every log line with the address.
            return refuse("the URL must not contain a user or a password");
        }
        if uri.query().is_some() {
            return refuse("the URL must not have a query");
        }
        Ok(Self(format!("{scheme}://{authority}{}", uri.path().trim_end_matches('/'))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_joined_to_the_address_with_one_slash() {
        for (base, call) in [
            ("http://127.0.0.1:4002", "http://127.0.0.1:4002/data"),
            ("http://127.0.0.1:4002/", "http://127.0.0.1:4002/data"),
            ("HTTPS://poa.example/agents/", "https://poa.example/agents/data"),
        ] {
            let base: BaseUrl = base.parse().unwrap();
            assert_eq!(base.join("/data").to_string(), call);
        }
    }

    #[test]
    fn a_websocket_has_a_path_of_its_own() {
        for (base, handler) in [
            ("ws://127.0.0.1:4004", "ws://127.0.0.1:4004/ws"),
            ("wss://poa.example/", "wss://poa.example/ws"),
            ("ws://127.0.0.1:4004/agents", "ws://127.0.0.1:4004/agents"),
        ] {
            let base: BaseUrl = base.parse().unwrap();
            assert!(base.is_websocket());
            assert_eq!(base.socket().to_string(), handler);
        }
        assert!(!"http://ws.example".parse::<BaseUrl>().unwrap().is_websocket());
    }

    #[test]
    fn what_is_not_an_address_is_refused_with_the_reason() {
        for (text, reason) in [
            ("127.0.0.1:4002", "begin with http"),
            ("ftp://127.0.0.1", "begin with http"),
            ("", "not a URL"),
            ("http://u:secret@127.0.0.1", "must not contain"),
            ("http://127.0.0.1?a=b", "query"),
        ] {
            let error = text.parse::<BaseUrl>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn loopback_is_told_from_the_rest_of_the_world() {
        let loopback = |text: &str| text.parse::<BaseUrl>().unwrap().is_loopback();
        assert!(
            loopback("http://127.0.0.1:1")
                && loopback("http://[::1]:1")
                && loopback("http://localhost")
        );
        assert!(!loopback("http://192.0.2.1:1") && !loopback("http://localhost.example"));
    }
}
