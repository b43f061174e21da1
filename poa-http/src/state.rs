//! What the parts of one connection know of each other.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use tokio::time::Instant;

use crate::Limits;

/// What is said over a connection that was upgraded.
pub(crate) type Session = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Waits for the upgrade, and takes over the socket.
pub(crate) type Following = Pin<Box<dyn Future<Output = Option<Session>> + Send>>;

/// Where a connection is in the life of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Between requests.
    Idle,
    /// Some of a head has arrived.
    Header,
    /// The service waits for the body.
    Body,
    /// The request is answered.
    Serving,
    /// The service was told that it takes too long.
    Overdue,
    /// All is said, and what the client still sends is thrown away.
    Lingering,
}

/// Shared by the socket, the service, the body and the deadlines of one connection.
///
/// One task writes nearly all of it, one step after the other, so no order between the fields has to be enforced. The
/// accepting task reads it to find idle connections, where a moment late does no harm.
pub(crate) struct Conn {
    pub(crate) peer: SocketAddr,
    pub(crate) limits: Arc<Limits>,
    /// Bytes came since the last request was answered.
    received: AtomicBool,
    in_flight: AtomicBool,
    awaits_body: AtomicBool,
    body_expired: AtomicBool,
    request_expired: AtomicBool,
    body_left_unread: AtomicBool,
    /// So much of the body was left that the connection cannot be used again.
    spoilt: AtomicBool,
    lingering: AtomicBool,
    /// The client sends nothing more.
    ended: AtomicBool,
    /// The socket has gone to whoever upgraded the connection.
    upgraded: AtomicBool,
    requests: AtomicU32,
    created: Instant,
    /// When the phase changed last, in microseconds since `created`.
    idle_since: AtomicU64,
    finish: AtomicBool,
    waker: AtomicWaker,
    following: Mutex<Option<Following>>,
}

impl Conn {
    pub(crate) fn new(peer: SocketAddr, limits: Arc<Limits>) -> Arc<Self> {
        Arc::new(Self {
            peer,
            limits,
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

    /// Forgets the bytes that came so far: they were no part of a request.
    pub(crate) fn forget_bytes(&self) {
        self.received.store(false, Relaxed);
    }

    #[cfg(feature = "websocket")]
    pub(crate) fn follow_with(&self, following: Following) {
        *self.following.lock().unwrap_or_else(PoisonError::into_inner) = Some(following);
    }

    pub(crate) fn take_following(&self) -> Option<Following> {
        self.following.lock().unwrap_or_else(PoisonError::into_inner).take()
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

    /// The service has done with a body that has not ended; `much` of it may still come.
    pub(crate) fn leave_body_unread(&self, much: bool) {
        self.body_left_unread.store(true, Relaxed);
        self.spoilt.store(much, Relaxed);
    }

    pub(crate) fn is_spoilt(&self) -> bool {
        self.spoilt.load(Relaxed)
    }

    /// Whether the client may still be sending what nobody will read. Closing the socket then would make the system
    /// answer with a reset, which can destroy an answer that the client has not read yet.
    pub(crate) fn must_linger(&self) -> bool {
        let sends = self.body_left_unread.load(Relaxed) || self.received.load(Relaxed);
        sends && !self.ended.load(Relaxed) && !self.upgraded.load(Relaxed)
    }

    pub(crate) fn linger(&self) {
        self.lingering.store(true, Relaxed);
    }

    /// Notes the moment of a change of phase.
    pub(crate) fn changed_at(&self, now: Instant) {
        self.idle_since.store(self.micros(now), Relaxed);
    }

    /// How long this connection has been idle, in microseconds, if it is.
    pub(crate) fn idle_for(&self, now: Instant) -> Option<u64> {
        let ending = self.finish.load(Relaxed) || self.upgraded.load(Relaxed);
        let idle = self.phase() == Phase::Idle && !ending;
        idle.then(|| self.micros(now).saturating_sub(self.idle_since.load(Relaxed)))
    }

    fn micros(&self, now: Instant) -> u64 {
        u64::try_from((now - self.created).as_micros()).unwrap_or(u64::MAX)
    }

    /// Asks the connection to take no further request.
    pub(crate) fn finish(&self) {
        self.finish.store(true, Relaxed);
        self.waker.wake();
    }

    /// Ready once [`finish`](Self::finish) was called.
    pub(crate) fn poll_finish(&self, cx: &Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        if self.finish.load(Relaxed) { Poll::Ready(()) } else { Poll::Pending }
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
