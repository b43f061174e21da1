//! The calls over HTTP with MessagePack bodies (POA Protocol, section 2).

mod answer;
mod client;
mod session;
mod tls;

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Request, Uri};
use http_body_util::Full;
use serde::Serialize;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{AgentId, CallError, Config, Metric, Transport};
use answer::Answer;
use session::Session;

pub use client::HttpClient;
pub use tls::TlsError;

pub(crate) const MSGPACK: HeaderValue = HeaderValue::from_static("application/msgpack");

/// Tells a server that knows it that a call repeats an earlier one, whose answer was lost.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// One agent's way to a REST handler and its auth server.
#[derive(Debug)]
pub struct Rest {
    client: HttpClient,
    session: Session,
    id: AgentId,
    whoami: Bytes,
    ping: Uri,
    data: Uri,
    bye: Uri,
}

#[derive(Serialize)]
struct WhoAmI<'a> {
    id: &'a str,
}

impl Rest {
    /// Prepares the calls; nothing is sent yet.
    ///
    /// # Errors
    /// If the certificates to believe in cannot be loaded.
    pub fn new(config: &Config) -> Result<Self, TlsError> {
        Ok(Self::with_client(config, HttpClient::new(config)?))
    }

    /// The same over a client that other agents of this process use as well; its trust and timeout hold, not those of
    /// `config`.
    #[must_use]
    pub fn with_client(config: &Config, client: HttpClient) -> Self {
        warn_of_plain_text(config);
        Self {
            session: Session::new(config, client.clone()),
            client,
            id: config.id.clone(),
            whoami: encode(&WhoAmI { id: config.id.as_str() }),
            ping: config.rest.join("/ping"),
            data: config.rest.join("/data"),
            bye: config.rest.join("/bye"),
        }
    }

    /// Makes a call, and once more with a new token if the server did not like the first one. Tells how long the exchange
    /// that counted took.
    async fn call(&self, uri: &Uri, body: Bytes, key: Option<Uuid>) -> Result<Duration, CallError> {
        let token = self.session.token(None).await?;
        let (mut answer, mut took) = self.exchange(uri, body.clone(), key, token.header()).await?;
        if answer.is_unauthorized() {
            let token = self.session.token(Some(&token)).await?;
            (answer, took) = self.exchange(uri, body, key, token.header()).await?;
        }
        if !answer.is_unauthorized() {
            self.session.token_was_good();
        }
        answer.into_outcome(|| format!("POST {uri}")).map(|()| took)
    }

    async fn exchange(
        &self,
        uri: &Uri,
        body: Bytes,
        key: Option<Uuid>,
        token: &HeaderValue,
    ) -> Result<(Answer, Duration), CallError> {
        let mut request = post(uri, body, token);
        if let Some(key) = key {
            let key =
                HeaderValue::try_from(key.to_string()).expect("a UUID is a valid header value");
            request.headers_mut().insert(IDEMPOTENCY_KEY, key);
        }
        let begun = Instant::now();
        let answer = self.client.send(request).await?;
        Ok((answer, begun.elapsed()))
    }

    fn data_body(&self, metric: &Metric) -> Bytes {
        // A map of three. By hand, so that the measured object goes in as the bytes it already is.
        let mut body = vec![0x83];
        for part in ["id", self.id.as_str(), "type", metric.data_type(), "data"] {
            rmp_serde::encode::write(&mut body, part).expect("a string can always be appended");
        }
        body.extend_from_slice(metric.data());
        body.into()
    }
}

impl Transport for Rest {
    async fn connect(&self) -> Result<(), CallError> {
        self.session.token(None).await.map(drop)
    }

    async fn ping(&self) -> Result<Duration, CallError> {
        self.call(&self.ping, self.whoami.clone(), None).await
    }

    async fn data(&self, metric: &Metric) -> Result<(), CallError> {
        self.call(&self.data, self.data_body(metric), Some(metric.key())).await.map(drop)
    }

    async fn bye(&self) -> Result<(), CallError> {
        self.call(&self.bye, self.whoami.clone(), None).await.map(drop)
    }
}

fn post(uri: &Uri, body: Bytes, authorization: &HeaderValue) -> Request<Full<Bytes>> {
    let mut request =
        Request::post(uri.clone()).body(Full::new(body)).expect("a checked URL makes a request");
    request.headers_mut().insert(CONTENT_TYPE, MSGPACK);
    request.headers_mut().insert(AUTHORIZATION, authorization.clone());
    request
}

fn encode(body: &impl Serialize) -> Bytes {
    rmp_serde::to_vec_named(body).expect("names and strings can always be encoded").into()
}

fn warn_of_plain_text(config: &Config) {
    for url in [&config.rest, &config.auth] {
        if !url.is_tls() && !url.is_loopback() {
            tracing::warn!(%url, "no TLS: password and tokens cross the network in plain text");
        }
    }
}
