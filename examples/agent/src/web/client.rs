//! HTTP/1.1 with kept connections, over TCP or TLS.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use tokio::time::timeout;

use super::answer::Answer;
use super::tls::{self, TlsError};
use crate::{BoxError, CallError, Config};

/// No answer of a poa server comes near it.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Servers commonly close a connection after a minute or more of silence; better to be first.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Connections to servers. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct HttpClient {
    inner: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    timeout: Duration,
}

impl HttpClient {
    /// Takes trust and request timeout from the config.
    ///
    /// # Errors
    /// If the certificates to believe in cannot be loaded.
    pub(super) fn new(config: &Config) -> Result<Self, TlsError> {
        Ok(Self::with_tls(tls::client_config(config)?, config.request_timeout))
    }

    pub(super) fn with_tls(tls: ClientConfig, timeout: Duration) -> Self {
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        let inner = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_timer(TokioTimer::new())
            .build(connector.wrap_connector(tcp()));
        Self { inner, timeout }
    }

    /// One exchange; the answer has been read when it returns.
    ///
    /// # Errors
    /// [`CallError::Unavailable`] if there was no answer in time.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, CallError> {
        let call = format!("{} {}", request.method(), request.uri());
        let source: BoxError = match timeout(self.timeout, self.exchange(request)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error.into(),
            Err(_) => format!("no answer within {:?}", self.timeout).into(),
        };
        Err(CallError::Unavailable { call, retry_after: None, source })
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, hyper_util::client::legacy::Error> {
        let (parts, body) = self.inner.request(request).await?.into_parts();
        // The status has said it; a body cut off after it must not make an acknowledged metric be sent again.
        let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
        let body = body.map(|collected| collected.to_bytes()).unwrap_or_default();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    // Head and body of a small request may be two writes; Nagle would make the second one wait.
    tcp.set_nodelay(true);
    tcp
}
