//! The calls over HTTP with MessagePack bodies (POA Protocol, section 2).

use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderName;
use http::{HeaderValue, Uri};
use serde::Serialize;
use tokio::time::Instant;
use uuid::Uuid;

use crate::web::{Answer, Session, TlsError, encode, post};
use crate::{AgentId, BaseUrl, CallError, Config, Metric, Transport};

/// Marks a repetition of an earlier call whose answer was lost, for servers that support it.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The connection of one agent to a REST handler and its auth server.
#[derive(Debug)]
pub struct Rest {
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
    /// Prepares the connection without sending anything.
    ///
    /// # Errors
    /// If the trusted certificates cannot be loaded.
    pub fn new(config: &Config) -> Result<Self, TlsError> {
        Ok(Self::with_session(Session::new(config)?, &config.server, &config.id))
    }

    /// Shares the login and the connections of other agents of this process.
    #[must_use]
    pub fn with_session(session: Session, server: &BaseUrl, id: &AgentId) -> Self {
        Self {
            session,
            id: id.clone(),
            whoami: encode(&WhoAmI { id: id.as_str() }),
            ping: server.join("/ping"),
            data: server.join("/data"),
            bye: server.join("/bye"),
        }
    }

    /// Makes a call, and repeats it with a new token if the server refused the first one. Returns the duration of the
    /// last exchange.
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
        let answer = self.session.client().send(request).await?;
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
        self.session.connect().await
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
