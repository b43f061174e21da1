//! The origin of web pages.

use http::{HeaderValue, Uri};

/// Whether the `Origin` of a request is a page of this machine: of `localhost`, or of an address of the loopback.
///
/// A listener that asks for no credentials refuses others: a browser sends requests for any page, and the name of its host can be made to
/// point to this machine after the page was loaded.
#[must_use]
pub fn is_local(origin: &HeaderValue) -> bool {
    let uri: Option<Uri> = origin.to_str().ok().and_then(|origin| origin.parse().ok());
    let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_this_machine_are_told_from_others() {
        for local in ["http://localhost:3000", "http://127.0.0.1:8081", "http://[::1]:1"] {
            assert!(is_local(&HeaderValue::from_static(local)), "{local}");
        }
        for foreign in ["https://example.org", "null", "http://localhost.example.org", "file://"] {
            assert!(!is_local(&HeaderValue::from_static(foreign)), "{foreign}");
        }
    }
}
