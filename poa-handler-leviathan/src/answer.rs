//! Outcomes as HTTP answers.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW,
    CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use poa_http::BodyError;
use poa_leviathan::{Code, Error};
use serde_json::{Value, json};

use crate::access::Denied;

pub(crate) type Answer = Response<Full<Bytes>>;

/// The result of a request that succeeds.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// 204.
    Done,
    /// 200 with a document.
    Document(Value),
}

/// The reason why a request fails.
#[derive(Debug)]
pub(crate) enum Refusal {
    Library(Error),
    Body(BodyError),
    Denied(Denied),
    NotFound,
    MethodNotAllowed(&'static str),
    NotAcceptable,
    UnsupportedMediaType,
    NotImplemented(&'static str),
    /// The change is made, but it is not certain that its events are where they should be.
    EventsUnavailable(String),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        Self::Body(error)
    }
}

pub(crate) fn positive(outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Done => status(StatusCode::NO_CONTENT, Bytes::new()),
        Outcome::Document(document) => with_json(StatusCode::OK, &document),
    }
}

pub(crate) fn negative(refusal: &Refusal) -> Answer {
    let (status, code, message) = refusal.describe();
    let details = match refusal {
        Refusal::Library(error) => error.details(),
        _ => &[],
    };
    let body = json!({"error": {"code": code, "message": message, "details": details}});
    let mut answer = with_json(status, &body);
    refusal.explain(answer.headers_mut());
    answer
}

impl Refusal {
    fn describe(&self) -> (StatusCode, &'static str, String) {
        let own = |status, code, message: &str| (status, code, message.to_owned());
        match self {
            Self::Library(error) => {
                (status_of(error.code()), error.code().as_str(), error.to_string())
            }
            Self::Body(error) => (error.status(), body_code(error), error.to_string()),
            Self::Denied(Denied::Unauthorized) => {
                own(StatusCode::UNAUTHORIZED, "unauthorized", "the token is missing or wrong")
            }
            Self::Denied(Denied::FromPage) => own(
                StatusCode::FORBIDDEN,
                "forbidden_origin",
                "pages of other hosts are refused while no token is set; set `token` and send it",
            ),
            Self::NotFound => {
                own(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path")
            }
            Self::MethodNotAllowed(allow) => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                format!("method not allowed; allowed: {allow}"),
            ),
            Self::NotAcceptable => own(
                StatusCode::NOT_ACCEPTABLE,
                "not_acceptable",
                "the answer is application/json, which `Accept` excludes",
            ),
            Self::UnsupportedMediaType => own(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "a body needs the content type application/json",
            ),
            Self::NotImplemented(what) => own(StatusCode::NOT_IMPLEMENTED, "not_implemented", what),
            Self::EventsUnavailable(why) => {
                (StatusCode::SERVICE_UNAVAILABLE, "events_unavailable", why.clone())
            }
        }
    }

    /// Adds what HTTP wants said with some statuses (RFC 9110, sections 11.6.1, 15.5.6 and 10.2.3).
    fn explain(&self, headers: &mut HeaderMap) {
        match self {
            Self::MethodNotAllowed(allow) => {
                headers.insert(ALLOW, HeaderValue::from_static(allow));
            }
            Self::Denied(Denied::Unauthorized) => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ if self.describe().0 == StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
            }
            _ => {}
        }
    }
}

fn body_code(error: &BodyError) -> &'static str {
    match error {
        BodyError::TooLarge { .. } => "body_too_large",
        BodyError::Timeout(_) => "body_timeout",
        BodyError::Busy => "too_busy",
        _ => "invalid_json",
    }
}

fn status_of(code: Code) -> StatusCode {
    match code {
        Code::InvalidJson | Code::MissingField | Code::WrongType => StatusCode::BAD_REQUEST,
        Code::NotFound
        | Code::UnknownCen
        | Code::UnknownCin
        | Code::UnknownContainer
        | Code::UnknownHost
        | Code::NotAMember => StatusCode::NOT_FOUND,
        Code::Busy
        | Code::CenInUse
        | Code::CenNotReady
        | Code::CenAlreadyInCin
        | Code::NoInterfaceNumberLeft
        | Code::IpRangeExhausted
        | Code::ForeignInterface => StatusCode::CONFLICT,
        Code::InvalidIdentifier
        | Code::NameTooLong
        | Code::ReservedName
        | Code::DuplicateCen
        | Code::DuplicateContainer
        | Code::CinWithoutCen
        | Code::InvalidStartWith => StatusCode::UNPROCESSABLE_ENTITY,
        Code::DockerUnavailable | Code::Interrupted => StatusCode::SERVICE_UNAVAILABLE,
        Code::Timeout => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The answer to OPTIONS: what a page may send.
pub(crate) fn options(allow: &'static str, needs_token: bool) -> Answer {
    let mut answer = status(StatusCode::OK, Bytes::new());
    let allowed = if needs_token { "content-type, authorization" } else { "content-type" };
    let headers = answer.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(allowed));
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(allow));
    headers.insert(ALLOW, HeaderValue::from_static(allow));
    answer
}

/// Lets pages read the answer.
pub(crate) fn share(answer: &mut Answer) {
    answer.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
}

fn with_json(code: StatusCode, document: &Value) -> Answer {
    let mut answer = status(code, document.to_string().into());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn status(code: StatusCode, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = code;
    answer
}
