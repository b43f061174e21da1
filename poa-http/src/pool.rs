//! The connections of a listener.

use std::collections::HashMap;
use std::sync::Arc;

use poa_core::telemetry::Gauge;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use crate::state::{Conn, Session};

/// A place among the connections that may be open at once, held as long as the socket.
pub(crate) struct Slot {
    _permit: OwnedSemaphorePermit,
    open: Gauge,
}

impl Slot {
    pub(crate) fn new(permit: OwnedSemaphorePermit, open: Gauge) -> Self {
        open.inc();
        Self { _permit: permit, open }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.open.dec();
    }
}

/// The task of every connection. Dropping it aborts them.
#[derive(Default)]
pub(crate) struct Pool {
    tasks: JoinSet<Option<Session>>,
    conns: HashMap<Id, Arc<Conn>>,
}

impl Pool {
    pub(crate) fn spawn(
        &mut self,
        conn: Arc<Conn>,
        task: impl Future<Output = Option<Session>> + Send + 'static,
    ) {
        let id = self.tasks.spawn(task).id();
        self.conns.insert(id, conn);
    }

    /// Waits for the end of a connection; for ever when there is none. Cancel safe.
    pub(crate) async fn ended(&mut self) {
        match self.tasks.join_next_with_id().await {
            Some(ended) => self.forget(ended),
            None => std::future::pending().await,
        }
    }

    /// An upgraded connection goes on as a task of its own, so that nothing of what served HTTP is kept.
    fn forget(&mut self, ended: Result<(Id, Option<Session>), JoinError>) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let Some(conn) = self.conns.remove(&id) else { return };
        match ended {
            Ok((_, None)) => {}
            Ok((_, Some(session))) => self.spawn(conn, async {
                session.await;
                None
            }),
            Err(error) => tracing::error!(peer = %conn.peer, "a connection was lost: {error}"),
        }
    }

    /// Asks the connection that is idle longest to end; false when none is idle.
    pub(crate) fn close_idlest(&self) -> bool {
        let now = Instant::now();
        let idle = self.conns.values().filter_map(|conn| Some((conn.idle_for(now)?, conn)));
        match idle.max_by_key(|(idle, _)| *idle) {
            Some((_, conn)) => {
                conn.finish();
                true
            }
            None => false,
        }
    }

    /// Asks all connections to end, and waits until they have.
    pub(crate) async fn finish(&mut self) {
        for conn in self.conns.values() {
            conn.finish();
        }
        while !self.tasks.is_empty() {
            self.ended().await;
        }
    }
}
