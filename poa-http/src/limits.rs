use poa_core::config::{Duration, Problem, Size};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The limits of a listener.
///
/// A client that exceeds one is refused or disconnected; other clients are not affected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Limits {
    /// The largest body of a request.
    pub body: Size,
    /// The largest head of a request: its first line and all headers.
    pub headers: Size,
    /// How long a client may take to send the head of a request, and for the TLS handshake.
    pub header_timeout: Duration,
    /// How long a client may take to send a whole body.
    pub body_timeout: Duration,
    /// How long a request may take from the end of its body to the last byte of the response; 503 after that.
    pub request_timeout: Duration,
    /// How long a connection stays open between requests.
    pub idle_timeout: Duration,
    /// The most connections at once, as far as the limit of open files allows. When all are in use, a connection on which no request
    /// has succeeded is closed to admit a new one, otherwise the one that has been idle longest.
    #[schemars(range(min = 1))]
    pub max_connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: Size::bytes(8_000_000),
            headers: Size::bytes(16 << 10),
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(60),
            // Load balancers keep idle connections for 60 s. If the server closed first, a request already in transit would be lost.
            idle_timeout: Duration::from_secs(75),
            max_connections: 10_000,
        }
    }
}

impl Limits {
    /// Reports every value that cannot work, by its key.
    ///
    /// For the `validate` of a plugin whose configuration has limits; prepend the key of that table to each path.
    #[must_use]
    pub fn validate(&self) -> Vec<Problem> {
        let times = [
            ("header_timeout", self.header_timeout),
            ("body_timeout", self.body_timeout),
            ("request_timeout", self.request_timeout),
            ("idle_timeout", self.idle_timeout),
        ];
        let mut problems: Vec<_> = times
            .into_iter()
            .filter(|(_, time)| time.get().is_zero())
            .map(|(key, _)| {
                Problem::new(key, "must be longer than 0; write a time such as \"10s\"")
            })
            .collect();
        if self.max_connections == 0 {
            problems.push(Problem::new("max_connections", "must be at least 1"));
        }
        if self.headers.get() < 1024 {
            problems.push(Problem::new("headers", "must be at least \"1KiB\""));
        }
        problems
    }
}
