//! Access to the lists and to registration.

use aws_lc_rs::constant_time;
use http::header::{AUTHORIZATION, ORIGIN};
use http::{HeaderMap, StatusCode};
use poa_core::config::Secret;

use super::Refusal;

/// The token, if there is one. Without it the listener is on the loopback.
#[derive(Debug)]
pub(crate) struct Access(Option<Secret>);

impl Access {
    pub(crate) fn new(token: Option<Secret>) -> Self {
        Self(token)
    }

    /// Lets in who knows the token. Without one, any program of this machine, but no page from elsewhere: browsers send requests for it.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(token) = &self.0 else { return check_origin(headers) };
        let offered = bearer(headers).ok_or_else(|| {
            Refusal::unauthorized("this needs the token of the gateway: `Authorization: Bearer …`")
        })?;
        let same =
            constant_time::verify_slices_are_equal(offered.as_bytes(), token.expose().as_bytes());
        same.map_err(|_| Refusal::unauthorized("the token is wrong"))
    }
}

fn check_origin(headers: &HeaderMap) -> Result<(), Refusal> {
    let foreign = headers.get(ORIGIN).is_some_and(|origin| !poa_http::is_local(origin));
    let text = "pages of other hosts are refused where the gateway has no token; set `token`";
    if foreign { Err(Refusal::new(StatusCode::FORBIDDEN, text)) } else { Ok(()) }
}

/// The token of an `Authorization: Bearer …` header, the scheme in any letter case.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The id that old clients put into the header, bare.
pub(super) fn node_id(headers: &HeaderMap) -> Result<&str, Refusal> {
    let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let id = value.map(|value| bearer(headers).unwrap_or(value).trim());
    id.ok_or_else(|| Refusal::unauthorized("this path needs the id of a node in `Authorization`"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(value))])
    }

    #[test]
    fn a_token_is_asked_for_where_there_is_one() {
        let access = Access::new(Some(Secret::new("token")));
        assert!(access.check(&headers("bearer token")).is_ok());
        for wrong in ["Bearer other", "token", "Basic token", ""] {
            assert_eq!(access.check(&headers(wrong)).unwrap_err().status.as_u16(), 401, "{wrong}");
        }
        assert!(access.check(&HeaderMap::new()).is_err());
        assert!(Access::new(None).check(&HeaderMap::new()).is_ok());
    }

    #[test]
    fn without_a_token_pages_of_other_hosts_are_refused() {
        let from = |origin| {
            let headers = HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static(origin))]);
            Access::new(None).check(&headers).map_err(|refusal| refusal.status.as_u16())
        };
        assert_eq!(from("http://127.0.0.1:8080"), Ok(()));
        assert_eq!(from("https://example.org"), Err(403));
    }

    #[test]
    fn old_clients_name_the_node_in_the_header() {
        assert_eq!(node_id(&headers("abc")).unwrap(), "abc");
        assert_eq!(node_id(&headers("Bearer abc")).unwrap(), "abc");
        assert_eq!(node_id(&HeaderMap::new()).unwrap_err().status.as_u16(), 401);
    }
}
