use poa_core::telemetry::{Counter, Gauge, Telemetry};

/// The counters of a listener.
#[derive(Clone)]
pub(crate) struct Metrics {
    pub(crate) open: Gauge,
    pub(crate) accepted: Counter,
    pub(crate) gave_way: Counter,
    pub(crate) timeouts: Counter,
    pub(crate) tls_failures: Counter,
}

impl Metrics {
    pub(crate) fn new(telemetry: &Telemetry, handler: &str) -> Self {
        let labels = [("handler", handler)];
        let counter = |name, help| telemetry.counter(name, help, &labels);
        Self {
            open: telemetry.gauge("http_connections", "Connections open", &labels),
            accepted: counter("http_connections_accepted", "Connections accepted"),
            gave_way: counter("http_connections_gave_way", "Connections closed to admit others"),
            timeouts: counter(
                "http_timeouts",
                "Requests cut off because the client, or the response, took too long",
            ),
            tls_failures: counter("http_tls_failures", "TLS handshakes that failed"),
        }
    }
}
