//! The monitor over WebSocket.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::Full;
use poa_http::websocket::{CloseCode, Handshake, Message, WebSocket};
use poa_leviathan::Leviathan;
use poa_leviathan::monitor::Monitor;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::answer::Answer;

/// How long a client may take to read what is sent to it.
const SLOW: Duration = Duration::from_secs(10);
/// A client that says nothing is asked for a sign of life so often, and given up when it is silent for twice as long.
const PING: Duration = Duration::from_secs(30);

/// How a conversation ends: what the client is told, if it can be told.
type End = Option<(CloseCode, &'static str)>;

/// Answers requests and tells events until either side has enough.
///
/// Nothing queues up for a client: a change that comes while it reads shows in the next look at the model, together with those before it.
pub(crate) async fn watch(socket: WebSocket, leviathan: Leviathan, shutdown: CancellationToken) {
    let mut session = Session { socket, monitor: Monitor::new(), leviathan };
    let end = session.speak(&shutdown).await;
    if let Some((code, reason)) = end {
        session.socket.close_with(code, reason).await;
    }
}

struct Session {
    socket: WebSocket,
    monitor: Monitor,
    leviathan: Leviathan,
}

impl Session {
    async fn speak(&mut self, shutdown: &CancellationToken) -> End {
        let mut models = self.leviathan.models();
        let mut clock = tokio::time::interval(PING);
        let (mut heard, mut silent) = (0, 0_u32);
        loop {
            let sent = tokio::select! {
                () = shutdown.cancelled() => return Some((CloseCode::GOING_AWAY, "the server stops")),
                message = self.socket.next() => match message {
                    Some(Ok(Message::Text(text))) => {
                        let answer = self.monitor.text(&text, &self.leviathan.model());
                        self.send(Message::text(answer)).await
                    }
                    // Binary frames are ignored, as in the original; pings were answered.
                    Some(Ok(Message::Binary(_) | Message::Ping | Message::Pong)) => Ok(()),
                    Some(Ok(Message::Close(_))) | None => return Some((CloseCode::NORMAL, "")),
                    Some(Err(error)) => return error.close(),
                },
                Ok(()) = models.changed() => {
                    let model = models.borrow_and_update().clone();
                    self.tell(&model).await
                }
                _ = clock.tick() => {
                    silent = if self.socket.received() == heard { silent + 1 } else { 0 };
                    heard = self.socket.received();
                    if silent > 2 {
                        return None;
                    }
                    self.send(Message::Ping).await
                }
            };
            if let Err(end) = sent {
                return end;
            }
        }
    }

    async fn tell(&mut self, model: &poa_leviathan::Model) -> Result<(), End> {
        for event in self.monitor.changed(model) {
            self.send(Message::text(event)).await?;
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

/// The answer to a request that is no handshake, with the error body of this interface.
pub(crate) fn refused(refused: Handshake) -> Answer {
    let code = match refused {
        Handshake::Method => "method_not_allowed",
        Handshake::NoUpgrade | Handshake::Version => "upgrade_required",
        _ => "bad_handshake",
    };
    let body = json!({"error": {"code": code, "message": refused.to_string(), "details": []}});
    refused.answer().map(|_| Full::from(body.to_string()))
}
