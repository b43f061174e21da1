//! The way to the server that its address asks for.

use std::time::Duration;

use crate::{CallError, Config, Metric, Rest, TlsError, Transport, WebSocket};

/// REST or WebSocket.
#[derive(Debug)]
#[non_exhaustive]
pub enum Wire {
    /// For `http://` and `https://`.
    Rest(Box<Rest>),
    /// For `ws://` and `wss://`.
    WebSocket(WebSocket),
}

impl Wire {
    /// Chooses by [`Config::server`]; nothing is sent yet.
    ///
    /// # Errors
    /// If the certificates to believe in cannot be loaded.
    pub fn new(config: &Config) -> Result<Self, TlsError> {
        Ok(if config.server.is_websocket() {
            Self::WebSocket(WebSocket::new(config)?)
        } else {
            Self::Rest(Box::new(Rest::new(config)?))
        })
    }
}

impl Transport for Wire {
    async fn connect(&self) -> Result<(), CallError> {
        match self {
            Self::Rest(rest) => rest.connect().await,
            Self::WebSocket(socket) => socket.connect().await,
        }
    }

    async fn ping(&self) -> Result<Duration, CallError> {
        match self {
            Self::Rest(rest) => rest.ping().await,
            Self::WebSocket(socket) => socket.ping().await,
        }
    }

    async fn data(&self, metric: &Metric) -> Result<(), CallError> {
        match self {
            Self::Rest(rest) => rest.data(metric).await,
            Self::WebSocket(socket) => socket.data(metric).await,
        }
    }

    async fn bye(&self) -> Result<(), CallError> {
        match self {
            Self::Rest(rest) => rest.bye().await,
            Self::WebSocket(socket) => socket.bye().await,
        }
    }

    async fn close(&self) {
        match self {
            Self::Rest(rest) => rest.close().await,
            Self::WebSocket(socket) => socket.close().await,
        }
    }
}
