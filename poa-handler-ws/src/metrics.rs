use std::sync::OnceLock;
use std::time::Duration;

use poa_core::telemetry::{Counter, Histogram, Telemetry};

/// The statuses of this handler's responses, in the order of their counters.
const STATUSES: [u16; 11] = [101, 200, 400, 401, 403, 404, 405, 422, 426, 500, 503];

/// The calls that are counted separately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// The request for WebSocket.
    Upgrade,
    Session,
    Ping,
    Data,
    Bye,
    /// A message that is not a call.
    Unknown,
}

const CALLS: [(Call, &str); 6] = [
    (Call::Upgrade, "upgrade"),
    (Call::Session, "session"),
    (Call::Ping, "ping"),
    (Call::Data, "data"),
    (Call::Bye, "bye"),
    (Call::Unknown, "unknown"),
];

/// Calls by outcome, and their duration.
pub(crate) struct Metrics {
    telemetry: Telemetry,
    handler: String,
    /// A series exists from its first use; afterwards counting takes no lock and allocates no
    /// label.
    requests: [[OnceLock<Counter>; STATUSES.len()]; CALLS.len()],
    seconds: [Histogram; CALLS.len()],
    pub(crate) dropped: Counter,
}

impl Metrics {
    pub(crate) fn new(telemetry: &Telemetry, handler: &str) -> Self {
        let seconds = |(_, call): (Call, &str)| {
            let labels = [("handler", handler), ("call", call)];
            telemetry.histogram(
                "handler_request_seconds",
                "Time from the head of a request to its answer",
                &labels,
            )
        };
        let dropped = telemetry.counter(
            "handler_dropped",
            "Connections dropped because they were silent",
            &[("handler", handler)],
        );
        Self {
            telemetry: telemetry.clone(),
            handler: handler.to_owned(),
            requests: Default::default(),
            seconds: CALLS.map(seconds),
            dropped,
        }
    }

    pub(crate) fn answered(&self, call: Call, status: u16) {
        let Some(of_status) = STATUSES.iter().position(|known| *known == status) else { return };
        self.requests[call as usize][of_status]
            .get_or_init(|| {
                let status = status.to_string();
                let (_, call) = CALLS[call as usize];
                let labels =
                    [("handler", &*self.handler), ("call", call), ("status", status.as_str())];
                self.telemetry.counter("handler_requests", "Requests, by call and status", &labels)
            })
            .inc();
    }

    pub(crate) fn took(&self, call: Call, time: Duration) {
        self.seconds[call as usize].observe(time.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_has_its_own_counters() {
        for (at, (call, _)) in CALLS.into_iter().enumerate() {
            assert_eq!(call as usize, at);
        }
    }
}
