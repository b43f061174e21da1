//! The monitor over WebSocket.

use std::time::Duration;

use http_body_util::Full;
use poa_http::websocket::Handshake;
use poa_leviathan::Leviathan;
use poa_leviathan::monitor::Monitor;
use serde_json::json;

use crate::answer::Answer;
use crate::conversation::{PING, Talk};

/// Answers requests and tells events.
pub(crate) struct Watching {
    monitor: Monitor,
    leviathan: Leviathan,
}

impl Watching {
    pub(crate) fn new(leviathan: Leviathan) -> Self {
        Self { monitor: Monitor::new(), leviathan }
    }
}

impl Talk for Watching {
    const BEAT: Duration = PING;
    const GAP: Duration = Duration::ZERO;

    fn answer(&mut self, frame: &[u8]) -> Option<String> {
        Some(self.monitor.text(frame, &self.leviathan.model()))
    }

    fn news(&mut self) -> Vec<String> {
        self.monitor.changed(&self.leviathan.model())
    }

    fn beat(&mut self) -> Option<String> {
        None
    }
}

/// The answer to a request that is not a handshake, with the error body of this interface.
pub(crate) fn refused(refused: Handshake) -> Answer {
    let code = match refused {
        Handshake::Method => "method_not_allowed",
        Handshake::NoUpgrade | Handshake::Version => "upgrade_required",
        _ => "bad_handshake",
    };
    let body = json!({"error": {"code": code, "message": refused.to_string(), "details": []}});
    refused.answer().map(|_| Full::from(body.to_string()))
}
