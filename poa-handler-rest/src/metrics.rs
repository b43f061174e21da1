use std::sync::OnceLock;
use std::time::Duration;

use poa_core::telemetry::{Counter, Histogram, Telemetry};
use poa_protocol::CallKind;

/// The statuses of this handler's responses, in the order of their counters.
const STATUSES: [u16; 13] = [200, 400, 401, 403, 404, 405, 408, 413, 415, 422, 429, 500, 503];

/// The calls that are counted separately.
const CALLS: [CallKind; 3] = [CallKind::Ping, CallKind::Data, CallKind::Bye];

/// Requests by outcome, and their duration.
pub(crate) struct Metrics {
    telemetry: Telemetry,
    handler: String,
    /// A series exists from its first use; afterwards counting takes no lock and allocates no
    /// label.
    requests: [[OnceLock<Counter>; STATUSES.len()]; CALLS.len()],
    unknown: Counter,
    seconds: [Histogram; CALLS.len()],
}

impl Metrics {
    pub(crate) fn new(telemetry: &Telemetry, handler: &str) -> Self {
        let seconds = |call: CallKind| {
            let labels = [("handler", handler), ("call", call.name())];
            telemetry.histogram(
                "handler_request_seconds",
                "Time from the head of a request to its response",
                &labels,
            )
        };
        Self {
            telemetry: telemetry.clone(),
            handler: handler.to_owned(),
            requests: Default::default(),
            unknown: requests(telemetry, handler, "unknown", 404),
            seconds: CALLS.map(seconds),
        }
    }

    /// Counts a request for an unknown path.
    pub(crate) fn unknown_path(&self) {
        self.unknown.inc();
    }

    /// Counts a call.
    pub(crate) fn answered(&self, call: CallKind, status: u16, took: Duration) {
        let of_call = match call {
            CallKind::Ping => 0,
            CallKind::Data => 1,
            CallKind::Bye => 2,
        };
        self.seconds[of_call].observe(took.as_secs_f64());
        let Some(of_status) = STATUSES.iter().position(|known| *known == status) else { return };
        self.requests[of_call][of_status]
            .get_or_init(|| requests(&self.telemetry, &self.handler, call.name(), status))
            .inc();
    }
}

fn requests(telemetry: &Telemetry, handler: &str, call: &str, status: u16) -> Counter {
    let status = status.to_string();
    let labels = [("handler", handler), ("call", call), ("status", status.as_str())];
    telemetry.counter("handler_requests", "Requests, by call and status", &labels)
}
