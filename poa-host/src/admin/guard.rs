//! Access control of the admin listener.
//!
//! A web page can make a browser send requests to a server on loopback, and read the responses, once the name of the page points
//! to 127.0.0.1 (DNS rebinding). The browser then sends that name as `Host`. So names that are not this server's are refused,
//! unless a token is required, which such a page does not have.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, WWW_AUTHENTICATE};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use poa_core::config::Secret;

use super::control::Control;
use super::routes::refusal;
use crate::config::AdminSettings;

/// The requirements for a request.
#[derive(Debug)]
pub(super) struct Guard {
    token: Option<Secret>,
    hosts: Vec<String>,
    /// Admits the commands of this machine, which read their token from the data directory.
    control: Control,
}

impl Guard {
    pub(super) fn new(settings: &AdminSettings, control: Control) -> Arc<Self> {
        let own = settings.listen.name().into_iter().chain(["localhost"]).map(str::to_owned);
        let hosts = own.chain(settings.hosts.iter().map(|host| host.to_ascii_lowercase()));
        Arc::new(Self { token: settings.token.clone(), hosts: hosts.collect(), control })
    }

    fn check(&self, path: &str, headers: &HeaderMap) -> Result<(), Box<Response>> {
        match &self.token {
            // Monitoring checks the health of the server, and the response reveals nothing.
            _ if path.starts_with("/health/") && self.token.is_some() => Ok(()),
            Some(_) if self.control.admits(headers) => Ok(()),
            Some(_) => Err(unauthorized().into()),
            None if self.knows(headers) => Ok(()),
            None => Err(unknown_host().into()),
        }
    }

    /// Whether the name in `Host` is one of this server. No name can be made to resolve to an IP address in `Host`.
    fn knows(&self, headers: &HeaderMap) -> bool {
        let Some(host) = headers.get(HOST) else { return true };
        let Ok(authority) = Authority::try_from(host.as_bytes()) else { return host.is_empty() };
        let name = authority.host().trim_matches(['[', ']']).trim_end_matches('.');
        name.parse::<IpAddr>().is_ok()
            || self.hosts.iter().any(|own| name.eq_ignore_ascii_case(own))
    }
}

pub(super) fn presents(headers: &HeaderMap, token: &Secret) -> bool {
    let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let presented = value
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    presented
        .is_some_and(|(_, presented)| equal(presented.trim().as_bytes(), token.expose().as_bytes()))
}

/// Compares in a time that does not reveal where two texts differ.
fn equal(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).fold(0, |difference, (one, other)| difference | (one ^ other)) == 0
}

fn unauthorized() -> Response {
    let message = "send the token of [admin] as `Authorization: Bearer TOKEN`".to_owned();
    let answer = refusal(StatusCode::UNAUTHORIZED, "unauthorized", message);
    ([(WWW_AUTHENTICATE, "Bearer")], answer).into_response()
}

fn unknown_host() -> Response {
    let message = "the `Host` header names another server; use an IP address, or add the name to `hosts` in [admin]";
    refusal(StatusCode::FORBIDDEN, "unknown_host", message.to_owned())
}

/// Passes only the requests that may be answered.
pub(super) fn protect(router: Router, guard: Arc<Guard>) -> Router {
    router.layer(from_fn_with_state(guard, check))
}

async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    match guard.check(request.uri().path(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refused) => *refused,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn status(guard: &Guard, path: &str, headers: &[(&'static str, &str)]) -> u16 {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap()));
        let headers: HeaderMap = headers.collect();
        guard.check(path, &headers).map_or_else(|refused| refused.status().as_u16(), |()| 200)
    }

    fn control(settings: &AdminSettings) -> Control {
        Control::new().0.accepting(settings.token.clone())
    }

    /// A page of evil.example whose name was pointed to 127.0.0.1.
    #[test]
    fn a_name_that_is_not_ours_is_refused() {
        let settings =
            AdminSettings { hosts: vec!["Poa.Example".to_owned()], ..Default::default() };
        let guard = Guard::new(&settings, control(&settings));
        for host in [
            "127.0.0.1:4000",
            "[::1]:4000",
            "localhost:4000",
            "LOCALHOST",
            "poa.example",
            "poa.example.:1",
        ] {
            assert_eq!(status(&guard, "/status", &[("host", host)]), 200, "{host}");
        }
        for host in
            ["evil.example", "evil.example:4000", "localhost.evil.example", "127.0.0.1.nip.io"]
        {
            for path in ["/status", "/metrics", "/health/live"] {
                assert_eq!(status(&guard, path, &[("host", host)]), 403, "{host}");
            }
        }
    }

    #[test]
    fn with_a_token_only_health_is_available_without_it() {
        let token = Some(Secret::new("0123456789abcdef"));
        let settings = AdminSettings { token, ..Default::default() };
        let guard = Guard::new(&settings, control(&settings));
        let with = |value| status(&guard, "/status", &[("host", "poa"), ("authorization", value)]);
        assert_eq!(with("Bearer 0123456789abcdef"), 200);
        for wrong in [
            "Bearer 0123456789abcdeF",
            "Bearer 0123456789abcde",
            "Basic 0123456789abcdef",
            "Bearer",
        ] {
            assert_eq!(with(wrong), 401, "{wrong}");
        }
        assert_eq!(status(&guard, "/status", &[("host", "127.0.0.1")]), 401);
        assert_eq!(status(&guard, "/health/ready", &[("host", "poa")]), 200);
    }
}
