//! The deadlines of a connection.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::state::{Conn, Phase};

/// How long a client may take to send the rest of a request when the server is about to stop, and a service to complete an
/// overdue response.
const LAST_CALL: Duration = Duration::from_secs(5);

/// One timer for all deadlines of a connection.
///
/// A deadline that moves does not touch the timer: when it fires too early, it is reset. So a busy connection costs about
/// one timer per timeout, not several per request.
pub(crate) struct Deadlines {
    conn: Arc<Conn>,
    timer: Pin<Box<Sleep>>,
    seen: (Phase, u32),
    since: Instant,
    last_call: Option<Instant>,
}

impl Deadlines {
    pub(crate) fn new(conn: Arc<Conn>) -> Self {
        let now = Instant::now();
        let timer = Box::pin(tokio::time::sleep_until(now + conn.limits.idle_timeout.get()));
        conn.changed_at(now);
        Self { seen: (Phase::Idle, conn.requests()), conn, timer, since: now, last_call: None }
    }

    /// From now on, clients get little time to complete their requests.
    pub(crate) fn call_last(&mut self) {
        self.last_call.get_or_insert_with(|| Instant::now() + LAST_CALL);
    }

    /// Checks the phase of the connection. Ready with the phase whose deadline has passed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Phase> {
        let seen = (self.conn.phase(), self.conn.requests());
        if seen != self.seen {
            self.seen = seen;
            self.since = Instant::now();
            self.conn.changed_at(self.since);
        }
        let deadline = self.deadline();
        if deadline < self.timer.deadline() {
            self.timer.as_mut().reset(deadline);
        }
        loop {
            ready!(self.timer.as_mut().poll(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(self.seen.0);
            }
            self.timer.as_mut().reset(deadline);
        }
    }

    fn deadline(&self) -> Instant {
        let limits = &self.conn.limits;
        let time = match self.seen.0 {
            Phase::Idle => limits.idle_timeout,
            Phase::Header => limits.header_timeout,
            Phase::Body | Phase::Lingering => limits.body_timeout,
            Phase::Serving => return self.since + limits.request_timeout.get(),
            Phase::Overdue => return self.since + LAST_CALL,
        };
        let deadline = self.since + time.get();
        self.last_call.map_or(deadline, |last| last.min(deadline))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::Limits;
    use crate::state::InFlight;

    fn conn() -> Arc<Conn> {
        Conn::new(([127, 0, 0, 1], 1).into(), Arc::new(Limits::default()), crate::Shares::default())
    }

    async fn over(deadlines: &mut Deadlines) -> (Phase, Duration) {
        let begin = Instant::now();
        let phase = poll_fn(|cx| deadlines.poll(cx)).await;
        (phase, begin.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn each_phase_has_its_deadline() {
        let conn = conn();
        let mut deadlines = Deadlines::new(conn.clone());
        assert_eq!(over(&mut deadlines).await, (Phase::Idle, Duration::from_secs(75)));
        conn.note_bytes();
        assert_eq!(over(&mut deadlines).await, (Phase::Header, Duration::from_secs(10)));
        let _in_flight = InFlight::begin(&conn);
        conn.await_body(true);
        assert_eq!(over(&mut deadlines).await, (Phase::Body, Duration::from_secs(30)));
        conn.expire_body();
        assert_eq!(over(&mut deadlines).await, (Phase::Serving, Duration::from_secs(60)));
        conn.expire_request();
        assert_eq!(over(&mut deadlines).await, (Phase::Overdue, LAST_CALL));
        conn.linger();
        assert_eq!(over(&mut deadlines).await, (Phase::Lingering, Duration::from_secs(30)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_connection_never_times_out() {
        let conn = conn();
        let mut deadlines = Deadlines::new(conn.clone());
        for _ in 0..100 {
            drop(InFlight::begin(&conn));
            let busy = tokio::time::timeout(Duration::from_secs(74), over(&mut deadlines));
            assert!(busy.await.is_err());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_last_call_only_responses_have_time() {
        let conn = conn();
        let mut deadlines = Deadlines::new(conn.clone());
        deadlines.call_last();
        conn.note_bytes();
        assert_eq!(over(&mut deadlines).await, (Phase::Header, LAST_CALL));
        let _in_flight = InFlight::begin(&conn);
        assert_eq!(over(&mut deadlines).await, (Phase::Serving, Duration::from_secs(60)));
    }
}
