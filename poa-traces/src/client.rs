//! Sends requests to a collector.

use std::io::{self, Write as _};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression as Level;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use poa_core::BoxError;
use poa_core::config::Problem;
use prost::Message as _;

use crate::otlp::{ExportResponse, PartialSuccess};
use crate::{Compression, Config, StartError};

/// The longest answer that is read.
const ANSWER: usize = 16 << 10;

/// The part of an answer that an error shows.
const SHOWN: usize = 200;

/// A client of one collector. Keeps its connection between requests.
#[derive(Debug)]
pub(crate) struct Client {
    http: Http,
    uri: Uri,
    headers: HeaderMap,
    compression: Compression,
    limit: Duration,
}

/// One of two clients: a plain connection needs no root certificates, which take time to read and memory.
#[derive(Debug)]
enum Http {
    Plain(Pool<HttpConnector, Full<Bytes>>),
    Tls(Pool<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

/// The failure of a request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportError {
    #[error("the collector at {endpoint} cannot be reached")]
    Unreachable { endpoint: String, source: BoxError },
    #[error("the collector at {endpoint} did not answer within {limit:?}")]
    Silent { endpoint: String, limit: Duration },
    #[error("the collector at {endpoint} answered {status}: {text}")]
    Refused { endpoint: String, status: StatusCode, text: String, retry_after: Option<Duration> },
}

impl ExportError {
    /// Whether the same request may succeed later. OTLP names the answers for which that is so.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Silent { .. } => true,
            Self::Refused { status, .. } => matches!(status.as_u16(), 429 | 502 | 503 | 504),
        }
    }

    /// The wait that the collector asks for.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl Client {
    /// Prepares the client. Does not connect.
    pub(crate) fn new(config: &Config) -> Result<Self, StartError> {
        let uri =
            config.endpoint().map_err(|why| StartError::invalid(Problem::new("endpoint", why)))?;
        let mut headers = config.header_map().map_err(StartError::invalid)?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let agent = HeaderValue::from_static(concat!("poa/", env!("CARGO_PKG_VERSION")));
        headers.entry(USER_AGENT).or_insert(agent);
        let http = Http::new(&uri)?;
        Ok(Self {
            http,
            uri,
            headers,
            compression: config.compression,
            limit: config.timeout.get(),
        })
    }

    /// The body as it is sent.
    pub(crate) fn pack(&self, body: Vec<u8>) -> Bytes {
        match self.compression {
            Compression::None => body.into(),
            // Memory does not fail.
            Compression::Gzip => gzip(&body).unwrap_or_default().into(),
        }
    }

    /// Sends a packed body; returns what the collector says about the spans that it does not take. Cancel safe: the collector may have
    /// taken the spans; those that it gets again replace themselves, by their ids.
    pub(crate) async fn send(&self, body: Bytes) -> Result<PartialSuccess, ExportError> {
        let silent = || ExportError::Silent { endpoint: self.endpoint(), limit: self.limit };
        tokio::time::timeout(self.limit, self.exchange(body)).await.map_err(|_| silent())?
    }

    async fn exchange(&self, body: Bytes) -> Result<PartialSuccess, ExportError> {
        let unreachable =
            |source: BoxError| ExportError::Unreachable { endpoint: self.endpoint(), source };
        let mut request = Request::new(Full::from(body));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        if self.compression == Compression::Gzip {
            request.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let (parts, body) = self.http.exchange(request).await.map_err(unreachable)?.into_parts();
        if parts.status.is_success() {
            let answer = ExportResponse::decode(body).unwrap_or_default();
            return Ok(answer.partial_success.unwrap_or_default());
        }
        Err(ExportError::Refused {
            endpoint: self.endpoint(),
            status: parts.status,
            text: shown(&body),
            retry_after: retry_after(&parts.headers),
        })
    }

    /// The collector in errors: without the query, which may have a secret.
    fn endpoint(&self) -> String {
        let (scheme, authority) = (self.uri.scheme_str(), self.uri.authority());
        let authority = authority.map_or("", |authority| authority.as_str());
        format!("{}://{authority}{}", scheme.unwrap_or_default(), self.uri.path())
    }
}

impl Http {
    fn new(uri: &Uri) -> Result<Self, StartError> {
        let pool = Pool::builder(TokioExecutor::new());
        if uri.scheme_str() == Some("http") {
            return Ok(Self::Plain(pool.build_http()));
        }
        let tls = HttpsConnectorBuilder::new().with_native_roots();
        let connector = tls.map_err(StartError::Certificates)?.https_only().enable_http1().build();
        Ok(Self::Tls(pool.build(connector)))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, BoxError> {
        let answer = match self {
            Self::Plain(pool) => pool.request(request).await?,
            Self::Tls(pool) => pool.request(request).await?,
        };
        let (parts, body) = answer.into_parts();
        // Reading the answer lets the next request use the connection again.
        let body = Limited::new(body, ANSWER).collect().await;
        // One that cannot be read is missing from an error, no more.
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        Ok(Response::from_parts(parts, body))
    }
}

fn gzip(body: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Level::fast());
    encoder.write_all(body)?;
    encoder.finish()
}

/// A wait in seconds. The other form of the header, a date, is ignored.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// The beginning of an answer, on one line.
fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    printable.take(SHOWN).collect::<String>().trim().to_owned()
}
