//! One connection: calls arrive, answers are sent in their order.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use poa_core::activity::Link;
use poa_http::websocket::{CloseCode, Error, Message, WebSocket};
use poa_protocol::{
    Format, Frame, Limits, Reference, Refusal, Session, SocketCall, answer, decode_request,
};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::access::Access;
use crate::metrics::Call;
use crate::presence::{Due, Presence};
use crate::service::Service;
use crate::take::Taking;
use crate::unanswered::{Outcome, Queue, Unanswered, Wait};

/// This many messages in a row that are not calls end a connection.
const MAX_UNREADABLE: u32 = 10;

/// How long the server may not read before its agents get more time, and how often they get it then. Less than the silence
/// that any agent is permitted.
const DEAF: Duration = Duration::from_millis(500);

/// 4401, as 401: the connection has no valid token.
const UNAUTHORIZED: CloseCode = CloseCode::application(4401);

/// The end of a connection.
type End = (CloseCode, &'static str);

/// The next event of a connection.
enum Event {
    /// There is a reason to close.
    End(End),
    /// A deadline may have passed.
    Time,
}

pub(crate) struct Conversation {
    service: Arc<Service>,
    socket: WebSocket,
    access: Access,
    link: Link,
    unanswered: Queue,
    unreadable: u32,
    presence: Presence,
    /// The client does not read what is sent to it.
    blocked: bool,
    /// Since when nothing is read because the server owes answers and the agents' deadlines have not been extended.
    deaf_since: Option<Instant>,
    /// Nothing more is read; calls in flight are answered, and then the connection is closed for this reason.
    last_words: Option<End>,
}

impl Conversation {
    pub(crate) fn new(service: Arc<Service>, socket: WebSocket, access: Access) -> Self {
        let config = &service.config;
        let presence = Presence::new(config.ping_interval.get(), config.limits.body_timeout.get());
        let unanswered = Queue::new(config.limits.request_timeout.get());
        if let Some(user) = access.user() {
            socket.charge_to(user);
        }
        Self {
            link: service.cx.activity().link(),
            presence,
            service,
            socket,
            access,
            unanswered,
            unreadable: 0,
            blocked: false,
            deaf_since: None,
            last_words: None,
        }
    }

    /// Runs until either side closes. When dropped, the agents are inactive as well.
    pub(crate) async fn run(mut self) {
        let end = self.speak().await;
        // Closing may take a while, but the agents are gone already.
        drop(self.link);
        if let Some((code, reason)) = end {
            self.socket.close_with(code, reason).await;
        }
    }

    /// Returns the close code and reason; `None` when the client is gone.
    async fn speak(&mut self) -> Option<End> {
        let shutdown = self.service.cx.shutdown().clone();
        let mut revocations = self.access.revocations();
        let mut timer = pin!(sleep_until(self.look_at()));
        loop {
            tokio::select! {
                biased;
                event = poll_fn(|cx| self.poll_event(timer.as_mut(), cx)) => match event {
                    Event::End(end) => return Some(end),
                    Event::Time if self.look() == Due::Drop => {
                        self.service.metrics.dropped.inc();
                        return None;
                    }
                    Event::Time => timer.as_mut().reset(self.look_at()),
                },
                () = shutdown.cancelled(), if self.last_words.is_none() => {
                    self.stop(CloseCode::GOING_AWAY, STOPS);
                }
                () = changed(&mut revocations) => self.review(),
            }
        }
    }

    fn poll_event(&mut self, mut timer: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<Event> {
        if self.last_words.is_none() && self.socket.poll_unwanted(cx).is_ready() {
            self.make_room();
        }
        if let Poll::Ready(end) = self.poll_traffic(cx) {
            return Poll::Ready(Event::End(end));
        }
        let look_at = self.look_at();
        if look_at < timer.deadline() {
            timer.as_mut().reset(look_at);
        }
        timer.poll(cx).map(|()| Event::Time)
    }

    /// Reads and answers as much as is possible now. Ready with the reason to end.
    fn poll_traffic(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        match self.try_traffic(cx) {
            Err(end) => Poll::Ready(end),
            Ok(()) => match self.last_words {
                Some(end) if self.unanswered.is_empty() => Poll::Ready(end),
                _ => Poll::Pending,
            },
        }
    }

    fn try_traffic(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        loop {
            let answered = self.poll_answers(cx).map_err(|error| end_of(&error));
            if let Poll::Ready(result) = answered {
                result?;
            }
            if !self.read_calls(cx)? {
                break;
            }
        }
        self.presence.hear(self.socket.received(), self.socket.is_receiving());
        self.note_deafness();
        match self.socket.poll_flush_unpin(cx) {
            Poll::Ready(Err(error)) => Err(end_of(&error)),
            _ => Ok(()),
        }
    }

    /// Sends the answers that are ready, in the order of the calls.
    fn poll_answers(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        // All answers of a turn leave together.
        let mut now = None;
        loop {
            let room = self.socket.poll_ready_unpin(cx);
            self.blocked = room.is_pending();
            ready!(room)?;
            let Some((call, outcome)) = ready!(self.unanswered.poll_next(cx)) else {
                return Poll::Ready(Ok(()));
            };
            self.answer(&call, outcome, *now.get_or_insert_with(Instant::now))?;
        }
    }

    fn answer(&mut self, call: &Unanswered, outcome: Outcome, now: Instant) -> Result<(), Error> {
        let outcome = match outcome {
            Outcome::Token(token) => self.grant(token),
            other => other,
        };
        let (status, said) = match &outcome {
            Outcome::Done => (200, poa_protocol::Outcome::Done),
            Outcome::Token(token) => (200, poa_protocol::Outcome::Token(token)),
            Outcome::Refused(refusal) => {
                (refusal.status(), poa_protocol::Outcome::Refused(refusal))
            }
        };
        self.service.metrics.answered(call.call, status);
        self.service.metrics.took(call.call, now.saturating_duration_since(call.began));
        if call.call == Call::Session && self.access.is_over() {
            self.stop(UNAUTHORIZED, TOO_LATE);
        }
        self.socket.start_send_unpin(match answer(&call.reference, said) {
            Frame::Text(text) => Message::text(text),
            Frame::Binary(bytes) => Message::Binary(bytes.into()),
        })
    }

    fn grant(&mut self, token: String) -> Outcome {
        match self.access.grant(&token) {
            Ok(()) => {
                self.socket.set_max_message(self.service.max_message());
                if let Some(user) = self.access.user() {
                    self.socket.charge_to(user);
                }
                Outcome::Token(token)
            }
            Err(refusal) => Outcome::Refused(refusal),
        }
    }

    /// Whether more calls may arrive.
    fn listens(&self) -> bool {
        let max = self.service.config.max_unanswered;
        self.last_words.is_none() && self.unanswered.has_room(max)
    }

    /// Accepts the calls that have arrived. Returns false if there were none.
    fn read_calls(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let mut some = false;
        while self.listens() {
            match self.socket.poll_next_unpin(cx) {
                Poll::Pending => break,
                Poll::Ready(None) => return Err((CloseCode::NORMAL, "")),
                Poll::Ready(Some(Err(error))) => return Err(end_of(&error)),
                Poll::Ready(Some(Ok(message))) => self.take(&message),
            }
            some = true;
        }
        Ok(some)
    }

    fn take(&mut self, message: &Message) {
        let (format, bytes) = match message {
            Message::Text(text) => (Format::Json, text),
            Message::Binary(bytes) => (Format::MessagePack, bytes),
            Message::Ping | Message::Pong | Message::Close(_) => return,
        };
        self.presence.finish_message();
        self.take_call(format, bytes);
    }

    fn take_call(&mut self, format: Format, message: &Bytes) {
        let began = Instant::now();
        let (reference, call, wait) = match decode_request(format, message, &Limits::default()) {
            Ok(request) => {
                self.unreadable = 0;
                let key = request.idempotency_key.as_deref();
                let (call, wait) = match request.call {
                    Ok(SocketCall::Session(session)) => (Call::Session, self.log_in(&session)),
                    Ok(SocketCall::Call(call)) => {
                        (kind(&call), self.perform(&call, (format, message), key, began))
                    }
                    Err(refusal) => (Call::Unknown, Wait::Over(Err(refusal))),
                };
                (request.reference.into_owned(), call, wait)
            }
            Err(refusal) => {
                self.count_unreadable();
                (Reference::none(format), Call::Unknown, Wait::Over(Err(refusal)))
            }
        };
        self.unanswered.push(Unanswered { reference, call, began, wait });
    }

    fn count_unreadable(&mut self) {
        self.unreadable += 1;
        if self.unreadable >= MAX_UNREADABLE {
            self.stop(CloseCode::POLICY, "too many messages that are not calls");
        }
    }

    fn log_in(&self, session: &Session<'_>) -> Wait {
        match self.access.login(&session.user, &session.password) {
            Some(login) => Wait::Login(Box::pin(login)),
            None => Wait::Over(Err(Refusal::Unauthorized)),
        }
    }

    fn perform(
        &mut self,
        call: &poa_protocol::Call<'_>,
        (format, message): (Format, &Bytes),
        key: Option<&str>,
        now: Instant,
    ) -> Wait {
        let (cx, link) = (&self.service.cx, &mut self.link);
        let address = self.access.network();
        let taken = self.access.caller(now).and_then(|caller| {
            Taking { cx, caller, link, format, message, address, key }.take(call)
        });
        if self.access.is_revoked() {
            self.stop(UNAUTHORIZED, REVOKED);
        }
        match taken {
            Ok(Some(receipt)) => Wait::Receipt(receipt),
            Ok(None) => Wait::Over(Ok(())),
            Err(refusal) => Wait::Over(Err(refusal)),
        }
    }

    /// Reads nothing more; once all calls in flight are answered, closes for this reason. The first reason counts.
    fn stop(&mut self, code: CloseCode, reason: &'static str) {
        self.last_words.get_or_insert((code, reason));
    }

    /// Ends a connection whose slot the listener needs. When the server stops, it needs all of them.
    fn make_room(&mut self) {
        if self.service.cx.shutdown().is_cancelled() {
            self.stop(CloseCode::GOING_AWAY, STOPS);
        } else {
            self.stop(
                CloseCode::TRY_AGAIN_LATER,
                "all connections are in use, most of them by you",
            );
        }
    }

    /// Closes a connection whose token was revoked. If that is unknown now, it is verified again soon.
    fn review(&mut self) {
        if self.access.verify_again().is_ok() && self.access.is_revoked() {
            self.stop(UNAUTHORIZED, REVOKED);
        }
    }

    /// The time of the next deadline.
    fn look_at(&self) -> Instant {
        let silent = self.presence.next();
        let session = self.access.until().filter(|_| self.last_words.is_none());
        let deaf = self.deaf_since.map(|since| since + DEAF);
        // If nothing can be sent, an overdue answer changes nothing.
        let overdue = self.unanswered.overdue_at().filter(|_| !self.blocked);
        let others = [session, deaf, overdue];
        others.into_iter().flatten().fold(silent, Instant::min)
    }

    fn look(&mut self) -> Due {
        self.review();
        if self.access.until().is_some_and(|until| until <= Instant::now()) {
            if self.unanswered.is_logging_in() {
                self.access.wait_for_last();
            } else {
                self.stop(UNAUTHORIZED, TOO_LATE);
            }
        }
        self.excuse();
        let due = self.presence.look();
        match due {
            // A failure to send is detected when it is flushed.
            Due::Ping => drop(self.socket.start_send_unpin(Message::Ping)),
            Due::Slow => self.give_up(),
            Due::Nothing | Due::Drop => {}
        }
        due
    }

    /// Whether nothing is read for a reason that is not the client's fault.
    fn is_deaf(&self) -> bool {
        !self.listens() && !self.blocked
    }

    fn note_deafness(&mut self) {
        match self.is_deaf() {
            true => drop(self.deaf_since.get_or_insert_with(Instant::now)),
            false => self.deaf_since = None,
        }
    }

    /// While the server does not read, it cannot hear a client: neither the client nor its agents count as silent.
    fn excuse(&mut self) {
        if !self.is_deaf() {
            return;
        }
        self.presence.excuse();
        if self.deaf_since.is_some_and(|since| since.elapsed() >= DEAF) {
            self.deaf_since = Some(Instant::now());
            self.link.excuse();
        }
    }

    /// A message that is still arriving is not waited for.
    fn give_up(&mut self) {
        self.presence.excuse();
        self.stop(CloseCode::POLICY, "a message took too long to arrive");
    }
}

const STOPS: &str = "the server stops";

const REVOKED: &str = "the token is no longer valid";

const TOO_LATE: &str = "no session was opened in time";

fn kind(call: &poa_protocol::Call<'_>) -> Call {
    match call {
        poa_protocol::Call::Ping(_) => Call::Ping,
        poa_protocol::Call::Data(_) | poa_protocol::Call::Batch(_) => Call::Data,
        poa_protocol::Call::Bye(_) => Call::Bye,
    }
}

fn end_of(error: &Error) -> End {
    error.close().unwrap_or((CloseCode::NORMAL, ""))
}

/// Waits for a revocation; never returns if there will be none.
async fn changed(revocations: &mut Option<watch::Receiver<u64>>) {
    if let Some(revocations) = revocations
        && revocations.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<A, F>(_: fn(A) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_connection_takes_little_memory() {
        let size = size(Conversation::run);
        assert!(size < 2 << 10, "{size} bytes, of which {} are the socket", size_of::<WebSocket>());
    }
}
