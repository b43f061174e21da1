//! The connection to the servers, and whether it works.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, HeaderMap, ReconnectToServer, Request, Server};
use bytes::Bytes;
use parking_lot::Mutex;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::failure::{ApiError, Failure};

/// How long nothing may succeed before another server is tried: a client stays with a server that runs, but is cut off from the others.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long messages are refused after one was not stored, before the next one finds out whether they are stored again.
const REFUSING: Duration = Duration::from_secs(1);

/// How long a request of the API may take.
const API_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to one of the servers. Cloning is cheap.
#[derive(Clone)]
pub(crate) struct Contact(Arc<Inner>);

struct Inner {
    client: Client,
    state: Mutex<State>,
}

struct State {
    /// When a request succeeded last.
    succeeded: Instant,
    /// When the first request failed after that.
    failed: Option<Instant>,
    /// Since when nothing was stored, and when that was seen last. A server that is cut off still answers questions about the
    /// streams that it has led, so only what it stores shows that it is not.
    unstored: Option<(Instant, Instant)>,
    /// When another server was tried last.
    moved: Instant,
}

/// The answer to a publish.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    pub(crate) sequence: u64,
    pub(crate) duplicate: bool,
}

/// An answer of JetStream, good or bad.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answer<T> {
    Bad { error: ApiError },
    Good(T),
}

/// The answer to a publish, which is read for every message: an untagged enum is read twice.
#[derive(Deserialize)]
struct PublishAck<'a> {
    error: Option<ApiError>,
    #[serde(borrow, default)]
    stream: Cow<'a, str>,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
}

impl<'a> PublishAck<'a> {
    /// Stored only if this stream has it. A header would make the servers check that before, but they would store it with each message, and every
    /// reader would have to parse it.
    fn read(payload: &'a [u8], expected: &str) -> Result<Stored, Failure> {
        match serde_json::from_slice(payload).map_err(|error| unreadable(&error))? {
            Self { error: Some(error), .. } => Err(error.into()),
            // Streams count from 1.
            Self { seq: 0, .. } => Err(Failure::Refused("the server did not say where".into())),
            Self { stream, .. } if stream != expected => Err(Failure::Refused(format!(
                "it was stored in stream `{stream}` instead of `{expected}`; delete the other stream, or give it other subjects"
            ))),
            Self { seq, duplicate, .. } => Ok(Stored { sequence: seq, duplicate }),
        }
    }
}

impl Contact {
    /// Connects to the first server that takes the connection.
    pub(crate) async fn open(
        options: ConnectOptions,
        servers: &[String],
    ) -> Result<Self, async_nats::ConnectError> {
        let next = Arc::new(AtomicUsize::new(fastrand::usize(..1024)));
        let options = options
            .connection_timeout(Duration::from_secs(3))
            .ping_interval(Duration::from_secs(5))
            .reconnect_to_server_callback(move |servers, _| {
                let next = next.clone();
                async move { elsewhere(servers, next.fetch_add(1, Relaxed)) }
            })
            .event_callback(|event| async move { log(&event) });
        let client = options.connect(servers).await?;
        let now = Instant::now();
        let state = Mutex::new(State::new(now));
        Ok(Self(Arc::new(Inner { client, state })))
    }

    pub(crate) fn client(&self) -> &Client {
        &self.0.client
    }

    /// Publishes into this stream, and waits for the answer.
    ///
    /// Several calls that are first polled in order are sent in order. Not cancel safe: a call that is dropped may have published.
    pub(crate) async fn publish(
        &self,
        stream: &str,
        subject: String,
        headers: Option<HeaderMap>,
        payload: Bytes,
        within: Duration,
    ) -> Result<Stored, Failure> {
        let mut request = Request::new().payload(payload).timeout(Some(within));
        if let Some(headers) = headers {
            request = request.headers(headers);
        }
        let stored = self.ask(subject, request, |ack| PublishAck::read(ack, stream)).await;
        self.0.state.lock().note_stored(stored.as_ref().err());
        stored
    }

    /// Asks the API of JetStream; `subject` comes after `$JS.API.`.
    pub(crate) async fn api<T: DeserializeOwned>(
        &self,
        subject: &str,
        body: &serde_json::Value,
    ) -> Result<T, Failure> {
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let request = Request::new().payload(body).timeout(Some(API_TIMEOUT));
        self.ask(format!("$JS.API.{subject}"), request, read).await
    }

    async fn ask<T>(
        &self,
        subject: String,
        request: Request,
        read: impl FnOnce(&[u8]) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let answer = match self.0.client.send_request(subject, request).await {
            Ok(message) => read(&message.payload),
            Err(error) => Err(Failure::from(error)),
        };
        self.note(answer.as_ref().err()).await;
        answer
    }

    /// Takes note of how a request ended.
    pub(crate) async fn note(&self, failure: Option<&Failure>) {
        let is_stuck = {
            let mut state = self.0.state.lock();
            state.note(failure.is_some_and(Failure::is_about_contact))
        };
        if is_stuck {
            tracing::warn!(
                "reconnecting to another NATS server: nothing has succeeded for {PATIENCE:?}"
            );
            // Fails only when the client has ended.
            let _ = self.0.client.force_reconnect().await;
        }
    }

    /// Whether requests have failed for so long that the next will fail as well.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost_for().is_some_and(|time| time > PATIENCE) || self.0.state.lock().stores_nothing()
    }

    /// For how long nothing but failures have come back.
    pub(crate) fn lost_for(&self) -> Option<Duration> {
        self.0.state.lock().failed.map(|since| since.elapsed())
    }

    /// How long ago a request succeeded last.
    pub(crate) fn silent_for(&self) -> Duration {
        self.0.state.lock().succeeded.elapsed()
    }
}

impl State {
    fn new(now: Instant) -> Self {
        Self { succeeded: now, failed: None, unstored: None, moved: now }
    }

    /// Takes note of how a publish ended.
    fn note_stored(&mut self, failure: Option<&Failure>) {
        let now = Instant::now();
        match failure {
            None => self.unstored = None,
            Some(failure) if failure.is_about_contact() => {
                let since = self.unstored.map_or(now, |(since, _)| since);
                self.unstored = Some((since, now));
            }
            // Refused by a server that may be cut off or not.
            Some(_) => {}
        }
    }

    /// Whether the publishes of the last time have failed. After a while without any, the next one finds out.
    fn stores_nothing(&self) -> bool {
        let now = Instant::now();
        self.unstored.is_some_and(|(since, last)| last - since > PATIENCE && now - last < REFUSING)
    }

    /// Whether it is time to try another server.
    fn note(&mut self, failed: bool) -> bool {
        let now = Instant::now();
        if failed {
            self.failed.get_or_insert(now);
        } else {
            self.succeeded = now;
            self.failed = None;
        }
        let is_long = |since: Instant| now - since > PATIENCE;
        let is_failing = self.failed.is_some_and(is_long) || self.stores_nothing();
        let is_stuck = is_failing && is_long(self.moved);
        if is_stuck {
            self.moved = now;
        }
        is_stuck
    }
}

/// The next server in turn, so that none is tried twice in a row while there are others.
fn elsewhere(mut servers: Vec<Server>, turn: usize) -> Option<ReconnectToServer> {
    servers.sort_by_cached_key(ToString::to_string);
    let addr = servers.get(turn.checked_rem(servers.len())?)?.addr.clone();
    let rounds = servers.iter().map(|server| server.failed_attempts).min().unwrap_or(0) as u32;
    let delay = Duration::from_millis(50).saturating_mul(rounds).min(Duration::from_secs(1));
    Some(ReconnectToServer { addr, delay: Some(delay) })
}

fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Failure> {
    match serde_json::from_slice(payload) {
        Ok(Answer::Good(answer)) => Ok(answer),
        Ok(Answer::Bad { error }) => Err(error.into()),
        Err(error) => Err(unreadable(&error)),
    }
}

fn unreadable(error: &serde_json::Error) -> Failure {
    Failure::Refused(format!("cannot read the answer of the server: {error}"))
}

fn log(event: &Event) {
    match event {
        Event::Connected => tracing::info!("connected to a NATS server"),
        Event::Disconnected => {
            tracing::warn!("lost the connection to a NATS server, trying the others")
        }
        Event::LameDuckMode => tracing::info!("leaving a NATS server that is about to stop"),
        other => tracing::warn!("NATS client: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_stored_only_where_it_was_meant_to_be() {
        let read = |ack: &str| PublishAck::read(ack.as_bytes(), "POA");
        let stored = read(r#"{"stream":"POA","seq":7,"duplicate":true}"#).unwrap();
        assert_eq!((stored.sequence, stored.duplicate), (7, true));
        let refused =
            ["OTHER", ""].map(|stream| read(&format!(r#"{{"stream":"{stream}","seq":7}}"#)));
        assert!(refused.iter().all(|ack| matches!(ack, Err(Failure::Refused(_)))));
        assert!(matches!(read(r#"{"seq":7}"#), Err(Failure::Refused(_))));
        assert!(matches!(read(r#"{"stream":"POA","seq":0}"#), Err(Failure::Refused(_))));
        let full = r#"{"error":{"code":503,"err_code":10077},"stream":"POA","seq":0}"#;
        assert!(matches!(read(full), Err(Failure::Full(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn another_server_is_tried_after_a_while_of_failures_alone() {
        let now = Instant::now();
        let mut state = State::new(now);
        assert!(!state.note(true));
        tokio::time::advance(PATIENCE / 2).await;
        assert!(!state.note(false));
        assert!(!state.note(true));
        tokio::time::advance(PATIENCE * 2 / 3).await;
        assert!(!state.note(true));
        tokio::time::advance(PATIENCE).await;
        assert!(state.note(true));
        assert!(!state.note(true), "at once again");
        tokio::time::advance(PATIENCE + Duration::from_millis(1)).await;
        assert!(state.note(true));
    }

    #[tokio::test(start_paused = true)]
    async fn answers_of_a_server_that_stores_nothing_do_not_count() {
        let mut state = State::new(Instant::now());
        for _ in 0..3 {
            tokio::time::advance(PATIENCE * 2 / 3).await;
            state.note_stored(Some(&Failure::Unanswered));
        }
        assert!(state.stores_nothing());
        assert!(state.note(false), "another server is tried");
        tokio::time::advance(REFUSING).await;
        assert!(!state.stores_nothing(), "the next publish finds out");
        state.note_stored(None);
        assert!(!state.note(false));
    }
}
