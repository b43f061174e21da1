//! A conversation over WebSocket, whatever it is about.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use poa_http::websocket::{CloseCode, Message, WebSocket};
use poa_leviathan::Leviathan;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// How long a client may take to read what is sent to it.
const SLOW: Duration = Duration::from_secs(10);
/// A client that was silent for twice as long is disconnected: it has answered no ping.
pub(crate) const PING: Duration = Duration::from_secs(30);

/// The subject of a conversation.
pub(crate) trait Talk: Send {
    /// The time between pings.
    const BEAT: Duration;
    /// The least time between two looks at the networks.
    const GAP: Duration;

    /// The answer to a text frame.
    fn answer(&mut self, frame: &[u8]) -> Option<String>;

    /// The frames that a change calls for. It compares what is with what the client knows.
    fn news(&mut self) -> Vec<String>;

    /// The frame that is sent with each ping.
    fn beat(&mut self) -> Option<String>;
}

/// How a conversation ends: what the client is told, if it can be told.
type End = Option<(CloseCode, &'static str)>;

/// Talks until either side has enough.
///
/// Nothing queues up for a client: a change that comes while it reads shows in the next look at the networks, together with those before it.
pub(crate) async fn hold<T: Talk>(
    socket: WebSocket,
    talk: T,
    leviathan: Leviathan,
    shutdown: CancellationToken,
) {
    let mut session = Session { socket, talk, heard: 0, heard_at: Instant::now() };
    let end = session.speak(&leviathan, &shutdown).await;
    if let Some((code, reason)) = end {
        session.socket.close_with(code, reason).await;
    }
}

struct Session<T> {
    socket: WebSocket,
    talk: T,
    /// The bytes received by `heard_at`.
    heard: u64,
    heard_at: Instant,
}

impl<T: Talk> Session<T> {
    async fn speak(&mut self, leviathan: &Leviathan, shutdown: &CancellationToken) -> End {
        let (mut models, mut missing) = (leviathan.models(), leviathan.watch_missing());
        let mut clock = tokio::time::interval(T::BEAT);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut is_stale, mut next_look) = (true, Instant::now());
        loop {
            let sent = tokio::select! {
                // What changed before a client asks is told before it is answered.
                biased;
                () = shutdown.cancelled() => return Some((CloseCode::GOING_AWAY, "the server stops")),
                Ok(()) = models.changed(), if !is_stale => {
                    is_stale = true;
                    Ok(())
                }
                Ok(()) = missing.changed(), if !is_stale => {
                    is_stale = true;
                    Ok(())
                }
                () = tokio::time::sleep_until(next_look), if is_stale => {
                    // What changes from here on is seen by this look or by the next.
                    models.mark_unchanged();
                    missing.mark_unchanged();
                    (is_stale, next_look) = (false, Instant::now() + T::GAP);
                    let news = self.talk.news();
                    self.say(news).await
                }
                message = self.socket.next() => match message {
                    Some(Ok(Message::Text(text))) => {
                        let answer = self.talk.answer(&text);
                        self.say(answer).await
                    }
                    // Binary frames are ignored, as in the original; pings were answered.
                    Some(Ok(Message::Binary(_) | Message::Ping | Message::Pong)) => Ok(()),
                    Some(Ok(Message::Close(_))) | None => return Some((CloseCode::NORMAL, "")),
                    Some(Err(error)) => return error.close(),
                },
                _ = clock.tick() => {
                    if self.is_silent() {
                        return None;
                    }
                    self.beat().await
                }
            };
            if let Err(end) = sent {
                return end;
            }
        }
    }

    /// Whether the client answers no pings.
    fn is_silent(&mut self) -> bool {
        let received = self.socket.received();
        if received != self.heard {
            (self.heard, self.heard_at) = (received, Instant::now());
        }
        self.heard_at.elapsed() > PING * 2
    }

    async fn beat(&mut self) -> Result<(), End> {
        let beat = self.talk.beat();
        self.say(beat).await?;
        self.send(Message::Ping).await
    }

    async fn say(&mut self, frames: impl IntoIterator<Item = String>) -> Result<(), End> {
        for frame in frames {
            self.send(Message::text(frame)).await?;
        }
        Ok(())
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        match tokio::time::timeout(SLOW, self.socket.send(message)).await {
            Ok(sent) => sent.map_err(|error| error.close()),
            Err(_) => Err(Some((CloseCode::POLICY, "too slow: events could not be delivered"))),
        }
    }
}
