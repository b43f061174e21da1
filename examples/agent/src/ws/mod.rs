//! The calls over WebSocket in binary frames (POA Protocol, section 4).

mod connection;
mod dial;
mod frame;
mod link;
mod lost;

use std::time::Duration;

use crate::web::{Session, TlsError};
use crate::{AgentId, CallError, Config, Metric, Transport};
use frame::Call;

pub use link::Link;

/// One agent's way to a WebSocket handler.
///
/// What was not answered when the connection was lost counts as not sent: it is for the caller to call again, and a metric
/// goes out under the same key then.
#[derive(Debug)]
pub struct WebSocket {
    link: Link,
    id: AgentId,
}

impl WebSocket {
    /// An agent with a login and a connection of its own; nothing is sent yet.
    ///
    /// # Errors
    /// If the certificates to believe in cannot be loaded.
    pub fn new(config: &Config) -> Result<Self, TlsError> {
        let link = Link::new(Session::new(config)?, &config.server);
        Ok(Self::over(link, &config.id))
    }

    /// An agent behind a gateway: one of several that speak over one connection.
    #[must_use]
    pub fn over(link: Link, id: &AgentId) -> Self {
        Self { link, id: id.clone() }
    }

    /// Drops the connection without a word, as a crash would. The next call makes a new one.
    pub async fn cut(&self) {
        self.link.cut().await;
    }
}

impl Transport for WebSocket {
    async fn connect(&self) -> Result<(), CallError> {
        self.link.connect().await
    }

    async fn ping(&self) -> Result<Duration, CallError> {
        self.link.call(&self.id, Call::Ping).await
    }

    async fn data(&self, metric: &Metric) -> Result<(), CallError> {
        self.link.call(&self.id, Call::Data(metric)).await.map(drop)
    }

    async fn bye(&self) -> Result<(), CallError> {
        self.link.call(&self.id, Call::Bye).await.map(drop)
    }

    /// Closes the connection, which other agents may be using.
    async fn close(&self) {
        self.link.close().await;
    }
}
