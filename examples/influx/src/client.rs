//! Writing lines over HTTP.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use poa_core::{BoxError, BuildError, DeliveryError};
use tokio::time::timeout;

/// The longest part of an answer that is read: it goes into an error.
const ANSWER: usize = 4096;

/// The failure of a write.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("InfluxDB at {uri} cannot be reached")]
    Unreachable { uri: String, source: BoxError },
    #[error("InfluxDB at {uri} did not answer within {limit:?}")]
    Silent { uri: String, limit: Duration },
    #[error("InfluxDB at {uri} answered {status}: {text}")]
    Refused { uri: String, status: StatusCode, text: String },
}

/// A client for one write address.
#[derive(Debug)]
pub(crate) struct Influx {
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    uri: Uri,
    authorization: Option<HeaderValue>,
    limit: Duration,
}

impl Influx {
    /// Prepares the client. Does not connect.
    pub(crate) fn new(
        uri: Uri,
        authorization: Option<HeaderValue>,
        limit: Duration,
    ) -> Result<Self, BuildError> {
        let tls = HttpsConnectorBuilder::new().with_native_roots().map_err(|error| {
            BuildError::failed("cannot load the root certificates of the system").with_source(error)
        })?;
        let connector = tls.https_or_http().enable_http1().build();
        let http = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { http, uri, authorization, limit })
    }

    /// Writes lines. Cancel safe: lines that are written again replace themselves.
    pub(crate) async fn write(&self, lines: String) -> Result<(), DeliveryError> {
        let answer = timeout(self.limit, self.exchange(lines)).await;
        let silent = || WriteError::Silent { uri: self.uri.to_string(), limit: self.limit };
        answer.unwrap_or_else(|_| Err(silent())).map_err(classify)
    }

    async fn exchange(&self, lines: String) -> Result<(), WriteError> {
        let unreachable =
            |source: BoxError| WriteError::Unreachable { uri: self.uri.to_string(), source };
        let mut request = Request::post(self.uri.clone());
        request = request.header(CONTENT_TYPE, "text/plain; charset=utf-8");
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let request = request.body(Full::from(lines)).map_err(|error| unreachable(error.into()))?;
        let answer = self.http.request(request).await.map_err(|error| unreachable(error.into()))?;
        let (parts, body) = answer.into_parts();
        // Reading the answer lets the next write use the connection again.
        let body = Limited::new(body, ANSWER).collect().await;
        if parts.status.is_success() {
            return Ok(());
        }
        let text = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned());
        Err(WriteError::Refused {
            uri: self.uri.to_string(),
            status: parts.status,
            text: text.unwrap_or_default(),
        })
    }
}

/// InfluxDB refuses points by 400 and 422, and too many of them by 413: the host isolates them. Everything else can pass, or an
/// operator can cure it, and then the points are stored.
fn classify(error: WriteError) -> DeliveryError {
    match &error {
        WriteError::Refused { status, .. } if matches!(status.as_u16(), 400 | 413 | 422) => {
            DeliveryError::permanent(error)
        }
        _ => DeliveryError::transient(error),
    }
}
