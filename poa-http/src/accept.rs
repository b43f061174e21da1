//! Accepts connections, up to the limit.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::descriptors::{Places, Slot};
use crate::listeners::Listening;
use crate::metrics::Metrics;
use crate::pool::Pool;

/// How long to wait for a file descriptor, or for a connection that was asked to end.
const PAUSE: Duration = Duration::from_millis(100);

/// The minimum interval between warnings about too many connections.
const QUIET: Duration = Duration::from_secs(60);

/// Accepts connections within a limit.
pub(crate) struct Acceptor {
    name: Arc<str>,
    listener: Listening,
    places: Places,
    metrics: Metrics,
    said: Option<Instant>,
}

impl Acceptor {
    pub(crate) fn new(
        name: Arc<str>,
        listener: Listening,
        places: Places,
        metrics: Metrics,
    ) -> Self {
        Self { name, listener, places, metrics, said: None }
    }

    /// The next connection and its slot. Maintains the pool while there is none. Not cancel safe: a connection that waits
    /// for a slot is lost.
    pub(crate) async fn next(&mut self, pool: &mut Pool) -> (TcpStream, SocketAddr, Slot) {
        loop {
            tokio::select! {
                accepted = self.listener.tcp.accept() => match accepted {
                    Ok((tcp, peer)) => return (tcp, peer, self.slot(pool).await),
                    Err(error) => self.pause(error, pool).await,
                },
                () = pool.ended() => {}
            }
        }
    }

    async fn slot(&mut self, pool: &mut Pool) -> Slot {
        self.metrics.accepted.inc();
        loop {
            if let Some(slot) = self.places.take(&self.metrics.open) {
                return slot;
            }
            self.say("all connections are in use; raise `max_connections` or the limit of open files if this persists");
            self.make_room(pool);
            let _ = tokio::time::timeout(PAUSE, pool.ended()).await;
        }
    }

    /// An accept error concerns one connection, or the whole process, but never the listener.
    async fn pause(&mut self, error: io::Error, pool: &mut Pool) {
        use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
        if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
            return;
        }
        self.say(&format!(
            "cannot accept connections: {error}; is the limit of open files too low?"
        ));
        self.places.settle();
        self.make_room(pool);
        let _ = tokio::time::timeout(PAUSE, pool.ended()).await;
    }

    fn make_room(&self, pool: &mut Pool) {
        self.metrics.gave_way.inc_by(pool.make_room() as u64);
    }

    fn say(&mut self, what: &str) {
        let now = Instant::now();
        if self.said.is_none_or(|said| now - said >= QUIET) {
            self.said = Some(now);
            tracing::warn!(handler = &*self.name, "{what}");
        }
    }
}
