//! The state that the parts of one connection share.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::shares::Owner;
use crate::{Limits, Shares};

/// The session on an upgraded connection.
pub(crate) type Session = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Waits for the upgrade, and takes over the socket.
pub(crate) type Following = Pin<Box<dyn Future<Output = Option<Session>> + Send>>;

/// The state of a connection that decides whether it is closed when another one needs its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// No request of it has succeeded yet, and none is being answered.
    Unproven,
    /// It is between requests.
    Idle,
    /// It is in the middle of a request that the client has not sent completely.
    Sending,
    /// It was upgraded.
    Session,
}

/// The phase of a connection in the life of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Between requests.
    Idle,
    /// Some of a head has arrived.
    Header,
    /// The service waits for the body.
    Body,
    /// The response is being produced.
    Serving,
    /// The service was told that it takes too long.
    Overdue,
    /// The response is complete, and further input is discarded.
    Lingering,
}

/// Shared by the socket, the service, the body and the deadlines of one connection.
///
/// One task writes nearly all of it, sequentially, so no ordering between the fields has to be enforced. The accepting task reads it
/// to find idle connections, where slightly outdated values are harmless.
pub(crate) struct Conn {
    pub(crate) peer: SocketAddr,
    pub(crate) limits: Arc<Limits>,
    pub(crate) shares: Shares,
    /// The user or address that requests are charged to, once known.
    user: Mutex<Option<Arc<str>>>,
    /// A request was answered with success.
    proven: AtomicBool,
    /// The client waits for 100 before it sends the body.
    expects_continue: AtomicBool,
    /// The rest of a small body that the service did not read.
    leftover: Mutex<Option<Incoming>>,
    /// Bytes arrived since the last request was answered.
    received: AtomicBool,
    in_flight: AtomicBool,
    awaits_body: AtomicBool,
    body_expired: AtomicBool,
    request_expired: AtomicBool,
    body_left_unread: AtomicBool,
    /// Too much of the body was left for the connection to be reused.
    spoilt: AtomicBool,
    lingering: AtomicBool,
    /// The client sends nothing more.
    ended: AtomicBool,
    /// The connection was upgraded, and its socket transferred.
    upgraded: AtomicBool,
    requests: AtomicU32,
    created: Instant,
    /// The time of the last change of phase, in microseconds since `created`.
    idle_since: AtomicU64,
    finish: AtomicBool,
    evicted: AtomicBool,
    waker: AtomicWaker,
    following: Mutex<Option<Following>>,
}

impl Conn {
    pub(crate) fn new(peer: SocketAddr, limits: Arc<Limits>, shares: Shares) -> Arc<Self> {
        Arc::new(Self {
            peer,
            limits,
            shares,
            user: Mutex::default(),
            proven: AtomicBool::new(false),
            expects_continue: AtomicBool::new(false),
            leftover: Mutex::default(),
            received: AtomicBool::new(false),
            in_flight: AtomicBool::new(false),
            awaits_body: AtomicBool::new(false),
            body_expired: AtomicBool::new(false),
            request_expired: AtomicBool::new(false),
            body_left_unread: AtomicBool::new(false),
            spoilt: AtomicBool::new(false),
            lingering: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            upgraded: AtomicBool::new(false),
            requests: AtomicU32::new(0),
            created: Instant::now(),
            idle_since: AtomicU64::new(0),
            finish: AtomicBool::new(false),
            evicted: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            following: Mutex::default(),
        })
    }

    pub(crate) fn phase(&self) -> Phase {
        if self.lingering.load(Relaxed) {
            Phase::Lingering
        } else if self.in_flight.load(Relaxed) {
            self.phase_in_flight()
        } else if self.received.load(Relaxed) {
            Phase::Header
        } else {
            Phase::Idle
        }
    }

    fn phase_in_flight(&self) -> Phase {
        if self.request_expired() {
            Phase::Overdue
        } else if self.awaits_body.load(Relaxed) && !self.body_expired() {
            Phase::Body
        } else {
            Phase::Serving
        }
    }

    /// Requests handed to the service so far.
    pub(crate) fn requests(&self) -> u32 {
        self.requests.load(Relaxed)
    }

    pub(crate) fn note_bytes(&self) {
        self.received.store(true, Relaxed);
    }

    pub(crate) fn note_end(&self) {
        self.ended.store(true, Relaxed);
    }

    /// Disregards the bytes that arrived so far: they were not part of a request.
    pub(crate) fn forget_bytes(&self) {
        self.received.store(false, Relaxed);
    }

    #[cfg(feature = "websocket")]
    pub(crate) fn follow_with(&self, following: Following) {
        *self.following.lock() = Some(following);
    }

    pub(crate) fn take_following(&self) -> Option<Following> {
        self.following.lock().take()
    }

    /// From now on, requests are charged to this user.
    pub(crate) fn set_user(&self, user: &Arc<str>) {
        let mut known = self.user.lock();
        if known.as_ref().is_none_or(|known| !Arc::ptr_eq(known, user)) {
            *known = Some(user.clone());
        }
    }

    /// The user or address that the memory of a request is charged to.
    pub(crate) fn owner(&self) -> Owner {
        match &*self.user.lock() {
            Some(user) => Owner::User(user.clone()),
            None => Owner::of(self.peer.ip()),
        }
    }

    /// A request was answered with success.
    pub(crate) fn prove(&self) {
        self.proven.store(true, Relaxed);
    }

    pub(crate) fn expect_continue(&self, expects: bool) {
        self.expects_continue.store(expects, Relaxed);
    }

    pub(crate) fn expects_continue(&self) -> bool {
        self.expects_continue.load(Relaxed)
    }

    /// Keeps the small rest of a body, to be read before the answer is sent.
    pub(crate) fn keep_leftover(&self, rest: Incoming) {
        *self.leftover.lock() = Some(rest);
    }

    pub(crate) fn take_leftover(&self) -> Option<Incoming> {
        self.leftover.lock().take()
    }

    /// No part of the body is left.
    pub(crate) fn note_body_read(&self) {
        self.body_left_unread.store(false, Relaxed);
    }

    pub(crate) fn note_upgrade(&self) {
        self.upgraded.store(true, Relaxed);
    }

    pub(crate) fn await_body(&self, awaits: bool) {
        self.awaits_body.store(awaits, Relaxed);
    }

    pub(crate) fn expire_body(&self) {
        self.body_expired.store(true, Relaxed);
    }

    pub(crate) fn body_expired(&self) -> bool {
        self.body_expired.load(Relaxed)
    }

    pub(crate) fn expire_request(&self) {
        self.request_expired.store(true, Relaxed);
    }

    pub(crate) fn request_expired(&self) -> bool {
        self.request_expired.load(Relaxed)
    }

    /// The service is finished with a body that has not ended; `much` of it may still arrive.
    pub(crate) fn leave_body_unread(&self, much: bool) {
        self.body_left_unread.store(true, Relaxed);
        self.spoilt.store(much, Relaxed);
    }

    pub(crate) fn is_spoilt(&self) -> bool {
        self.spoilt.load(Relaxed)
    }

    /// Whether the client may still be sending bytes that will not be read. Closing the socket then would make the system send a
    /// reset, which can destroy a response that the client has not read yet.
    pub(crate) fn must_linger(&self) -> bool {
        let sends = self.body_left_unread.load(Relaxed) || self.received.load(Relaxed);
        sends && !self.ended.load(Relaxed) && !self.upgraded.load(Relaxed)
    }

    pub(crate) fn linger(&self) {
        self.lingering.store(true, Relaxed);
    }

    /// Records the time of a change of phase.
    pub(crate) fn changed_at(&self, now: Instant) {
        self.idle_since.store(self.micros(now), Relaxed);
    }

    /// Whether this connection may be closed if its slot is needed, and how long it has been in that state. `None` while a request is
    /// being answered, or if the connection ends anyway.
    pub(crate) fn claim(&self, now: Instant) -> Option<(Claim, Duration)> {
        if self.finish.load(Relaxed) || self.evicted.load(Relaxed) {
            return None;
        }
        let age = now - self.created;
        if self.upgraded.load(Relaxed) {
            return Some((Claim::Session, age));
        }
        let unchanged = age.saturating_sub(Duration::from_micros(self.idle_since.load(Relaxed)));
        match (self.phase(), self.proven.load(Relaxed)) {
            (Phase::Serving | Phase::Overdue, _) => None,
            (Phase::Lingering, _) => Some((Claim::Unproven, age)),
            (_, false) => Some((Claim::Unproven, age)),
            (Phase::Idle, true) => Some((Claim::Idle, unchanged)),
            (Phase::Header | Phase::Body, true) => Some((Claim::Sending, unchanged)),
        }
    }

    fn micros(&self, now: Instant) -> u64 {
        u64::try_from((now - self.created).as_micros()).unwrap_or(u64::MAX)
    }

    /// Tells the connection to accept no further request.
    pub(crate) fn finish(&self) {
        self.finish.store(true, Relaxed);
        self.waker.wake();
    }

    /// Ends the connection immediately, unless a request is being answered.
    pub(crate) fn evict(&self) {
        self.evicted.store(true, Relaxed);
        self.waker.wake();
    }

    /// Whether the connection is to end immediately.
    pub(crate) fn is_evicted(&self) -> bool {
        self.evicted.load(Relaxed) && !matches!(self.phase(), Phase::Serving | Phase::Overdue)
    }

    /// Ready once [`finish`](Self::finish) was called.
    pub(crate) fn poll_finish(&self, cx: &Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        let ends = self.finish.load(Relaxed) || self.evicted.load(Relaxed);
        if ends { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// A request that is not completely answered.
pub(crate) struct InFlight(Arc<Conn>);

impl InFlight {
    pub(crate) fn begin(conn: &Arc<Conn>) -> Self {
        conn.requests.fetch_add(1, Relaxed);
        conn.body_expired.store(false, Relaxed);
        conn.request_expired.store(false, Relaxed);
        conn.body_left_unread.store(false, Relaxed);
        conn.spoilt.store(false, Relaxed);
        *conn.leftover.lock() = None;
        conn.in_flight.store(true, Relaxed);
        Self(conn.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.store(false, Relaxed);
        self.0.forget_bytes();
    }
}
