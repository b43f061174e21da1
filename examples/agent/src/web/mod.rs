//! HTTP, which the REST calls and every login go over.

mod answer;
mod client;
mod session;
mod tls;
mod user;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, Uri};
use http_body_util::Full;
use serde::Serialize;

pub(crate) use answer::Answer;
pub(crate) use client::HttpClient;
pub(crate) use session::Token;

pub use session::Session;
pub use tls::TlsError;
pub use user::create_user;

const MSGPACK: HeaderValue = HeaderValue::from_static("application/msgpack");

pub(crate) fn post(uri: &Uri, body: Bytes, authorization: &HeaderValue) -> Request<Full<Bytes>> {
    let mut request =
        Request::post(uri.clone()).body(Full::new(body)).expect("a checked URL makes a request");
    request.headers_mut().insert(CONTENT_TYPE, MSGPACK);
    request.headers_mut().insert(AUTHORIZATION, authorization.clone());
    request
}

pub(crate) fn encode(body: &impl Serialize) -> Bytes {
    rmp_serde::to_vec_named(body).expect("names and strings can always be encoded").into()
}
