//! The connection of one agent of a fleet.

use std::time::Duration;

use poa_agent::{
    AgentId, BaseUrl, CallError, Link, Metric, Rest, Session, TlsError, Transport as _, WebSocket,
};

use tokio::task::JoinSet;

use crate::Options;

/// The connections that agents share. One login for all.
#[derive(Debug)]
pub(crate) struct Exchange {
    session: Session,
    server: BaseUrl,
    /// None for REST.
    links: Vec<Link>,
}

/// The connection of one agent.
#[derive(Debug)]
pub(crate) enum Line {
    Rest(Box<Rest>),
    /// With a connection of its own, or not.
    Socket {
        socket: WebSocket,
        alone: bool,
    },
}

impl Exchange {
    pub(crate) fn new(options: &Options) -> Result<Self, TlsError> {
        let session = Session::new(&options.config())?;
        let server = options.server.clone();
        let links = if server.is_websocket() { options.sockets() } else { 0 };
        let links = (0..links).map(|_| Link::new(session.clone(), &server)).collect();
        Ok(Self { session, server, links })
    }

    /// Gets the token that all will use.
    pub(crate) async fn log_in(&self) -> Result<(), CallError> {
        self.session.connect().await
    }

    /// The line of agent number `index` out of `agents`.
    pub(crate) fn line(&self, index: usize, agents: usize, id: &AgentId) -> Line {
        if self.links.is_empty() {
            return Line::Rest(Box::new(Rest::with_session(
                self.session.clone(),
                &self.server,
                id,
            )));
        }
        let link = self.links[index % self.links.len()].clone();
        Line::Socket { socket: WebSocket::over(link, id), alone: self.links.len() == agents }
    }

    /// Says goodbye on all connections.
    pub(crate) async fn close(self) {
        let goodbyes: JoinSet<()> =
            self.links.into_iter().map(|link| async move { link.close().await }).collect();
        goodbyes.join_all().await;
    }
}

impl Line {
    pub(crate) async fn ping(&self) -> Result<Duration, CallError> {
        match self {
            Self::Rest(rest) => rest.ping().await,
            Self::Socket { socket, .. } => socket.ping().await,
        }
    }

    pub(crate) async fn data(&self, metric: &Metric) -> Result<(), CallError> {
        match self {
            Self::Rest(rest) => rest.data(metric).await,
            Self::Socket { socket, .. } => socket.data(metric).await,
        }
    }

    pub(crate) async fn bye(&self) -> Result<(), CallError> {
        match self {
            Self::Rest(rest) => rest.bye().await,
            Self::Socket { socket, .. } => socket.bye().await,
        }
    }

    /// Closes the connection, unless other agents use it.
    pub(crate) async fn cut(&self) {
        if let Self::Socket { socket, alone: true } = self {
            socket.cut().await;
        }
    }
}
