//! The connections of a listener.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use crate::shares::{Owner, network};
use crate::state::{Claim, Conn, Session};

/// The fraction of the connections without a successful request that is closed at once when a slot is needed: searching all of them
/// for each new connection would help an attacker that floods the listener.
const AT_ONCE: usize = 16;

/// How long a new connection is kept without a request: any working client needs less.
const GRACE: Duration = Duration::from_millis(100);

/// How long a client may take in the middle of a request before others take precedence.
const SLOW: Duration = Duration::from_secs(1);

/// The task of every connection. Dropping it aborts them.
#[derive(Default)]
pub(crate) struct Pool {
    tasks: JoinSet<Option<Session>>,
    conns: HashMap<Id, Arc<Conn>>,
    /// The number of connections of each network.
    networks: HashMap<IpAddr, usize>,
    /// The time at which a session was last asked to end.
    session_closed: Option<Instant>,
}

/// A connection that may be closed, its state, and the number of connections of its network.
struct Candidate<'p> {
    conn: &'p Conn,
    claim: Claim,
    since: Duration,
    siblings: usize,
}

impl Pool {
    pub(crate) fn spawn(
        &mut self,
        conn: Arc<Conn>,
        task: impl Future<Output = Option<Session>> + Send + 'static,
    ) {
        let id = self.tasks.spawn(task).id();
        *self.networks.entry(network(conn.peer.ip())).or_default() += 1;
        self.conns.insert(id, conn);
    }

    /// Waits for the end of a connection; never returns when there is none. Cancel safe.
    pub(crate) async fn ended(&mut self) {
        match self.tasks.join_next_with_id().await {
            Some(ended) => self.forget(ended),
            None => std::future::pending().await,
        }
    }

    /// An upgraded connection continues as a task of its own, so that the HTTP state is freed.
    fn forget(&mut self, ended: Result<(Id, Option<Session>), JoinError>) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let Some(conn) = self.conns.remove(&id) else { return };
        self.leave(network(conn.peer.ip()));
        match ended {
            Ok((_, None)) => {}
            Ok((_, Some(session))) => self.spawn(conn, async {
                session.await;
                None
            }),
            Err(error) => tracing::error!(peer = %conn.peer, "a connection was lost: {error}"),
        }
    }

    fn leave(&mut self, network: IpAddr) {
        if let Some(count) = self.networks.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                self.networks.remove(&network);
            }
        }
    }

    /// Closes connections to admit another one, and returns how many.
    ///
    /// First those on which no request has succeeded, then the one that has been idle longest; among these, those of the network
    /// with the most connections come first. If one user or network has more than half of all, then one of its slow or upgraded
    /// connections.
    pub(crate) fn make_room(&mut self) -> usize {
        let now = Instant::now();
        let (unproven, others): (Vec<_>, Vec<_>) =
            self.candidates(now).partition(|one| one.claim == Claim::Unproven);
        if !unproven.is_empty() {
            // If all of them are very new, wait until one is old enough: no other connection is closed for them.
            return close_unproven(unproven, self.conns.len());
        }
        match close_idlest(&others) {
            0 => self.close_of_the_greediest(now),
            closed => closed,
        }
    }

    fn candidates(&self, now: Instant) -> impl Iterator<Item = Candidate<'_>> {
        self.conns.values().filter_map(move |conn| {
            let (claim, since) = conn.claim(now)?;
            let siblings = self.networks.get(&network(conn.peer.ip())).copied().unwrap_or(0);
            Some(Candidate { conn, claim, since, siblings })
        })
    }

    fn close_of_the_greediest(&mut self, now: Instant) -> usize {
        let mut owners: HashMap<Owner, usize> = HashMap::new();
        for conn in self.conns.values() {
            *owners.entry(conn.owner()).or_default() += 1;
        }
        let Some((greediest, held)) = owners.into_iter().max_by_key(|(_, held)| *held) else {
            return 0;
        };
        let all = self.conns.len();
        if held <= all / 2 || held == all {
            return 0;
        }
        let may_close_session =
            self.session_closed.is_none_or(|closed| now - closed >= Duration::from_secs(1));
        let of_it = self.candidates(now).filter(|one| one.conn.owner() == greediest);
        let slow = of_it.filter_map(|one| match one.claim {
            Claim::Sending if one.since >= SLOW => Some((true, Reverse(one.since), one.conn)),
            // The youngest: an owner that keeps opening connections loses the newest ones.
            Claim::Session if may_close_session => Some((false, Reverse(one.since), one.conn)),
            _ => None,
        });
        let Some((sending, _, conn)) = slow.max_by_key(|(sending, age, _)| (*sending, *age)) else {
            return 0;
        };
        if sending {
            conn.evict();
        } else {
            conn.finish();
            self.session_closed = Some(now);
        }
        1
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

/// Closes the oldest connections on which no request has succeeded, unless they are very new.
fn close_unproven(mut unproven: Vec<Candidate<'_>>, open: usize) -> usize {
    unproven.retain(|one| one.since >= GRACE);
    unproven.sort_by_key(|one| Reverse((one.siblings, one.since)));
    unproven.truncate((open / AT_ONCE).max(1));
    unproven.iter().for_each(|one| one.conn.evict());
    unproven.len()
}

fn close_idlest(all: &[Candidate<'_>]) -> usize {
    let idle = all.iter().filter(|one| one.claim == Claim::Idle);
    let Some(idlest) = idle.max_by_key(|one| (one.siblings, one.since)) else { return 0 };
    idlest.conn.finish();
    1
}
