use poa_core::config::{Duration, Problem};
use poa_http::{Limits, Listen, Tls};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The section of a handler of kind `ws`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Config {
    /// Address and port, such as `127.0.0.1:4004`, `localhost:4004` or `:4004` for all addresses.
    pub listen: Listen,
    /// The path for WebSocket; others are 404.
    pub path: String,
    /// The certificate for `wss`; plain `ws` when absent.
    pub tls: Option<Tls>,
    /// Limits of this listener; `body` is the largest message, `body_timeout` the time for it to arrive.
    pub limits: Limits,
    /// Accepts calls for every agent without a token. Only on a loopback address.
    pub anonymous: bool,
    /// How long a client without a valid token may take to open a session; it is closed with 4401 after that.
    pub auth_timeout: Duration,
    /// A connection that is silent for this long is pinged, and dropped when it stays silent as long again.
    pub ping_interval: Duration,
    /// The most calls of a connection that wait for their answers. At this limit, nothing is read from it.
    #[schemars(range(min = 1))]
    pub max_unanswered: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 4004).into(),
            path: "/ws".to_owned(),
            tls: None,
            limits: Limits::default(),
            anonymous: false,
            auth_timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(20),
            max_unanswered: 1024,
        }
    }
}

impl Config {
    /// The defaults, on this address.
    #[must_use]
    pub fn listen(addr: impl Into<Listen>) -> Self {
        Self { listen: addr.into(), ..Self::default() }
    }

    pub(crate) fn problems(&self) -> Vec<Problem> {
        let limits = self.limits.validate().into_iter();
        let mut problems: Vec<_> = limits.map(|problem| problem.under("limits")).collect();
        if !self.path.starts_with('/') {
            problems.push(Problem::new("path", "must begin with `/`, as in \"/ws\""));
        }
        if self.anonymous && !self.listen.is_loopback() {
            let what = format!(
                "would let every client that can connect to {} send data; listen on 127.0.0.1, or remove it and use tokens",
                self.listen
            );
            problems.push(Problem::new("anonymous", what));
        }
        for (key, time) in
            [("auth_timeout", self.auth_timeout), ("ping_interval", self.ping_interval)]
        {
            if time.get().is_zero() {
                problems
                    .push(Problem::new(key, "must be longer than 0; write a time such as \"5s\""));
            }
        }
        if self.max_unanswered == 0 {
            problems.push(Problem::new("max_unanswered", "must be at least 1"));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Config {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn everything_has_a_default() {
        let config = read("");
        assert_eq!(config.listen.to_string(), "127.0.0.1:4004");
        assert_eq!((&*config.path, config.limits.body.get()), ("/ws", 8_000_000));
        assert!(config.problems().is_empty());
    }

    #[test]
    fn problems_are_named() {
        let config = read(
            "path = \"ws\"\nanonymous = true\nlisten = \"0.0.0.0:1\"\nauth_timeout = \"0s\"\n\
             ping_interval = \"0s\"\nmax_unanswered = 0\nlimits = { headers = \"1B\" }",
        );
        let paths: Vec<_> =
            config.problems().iter().map(|problem| problem.path.join(".")).collect();
        assert_eq!(
            paths,
            [
                "limits.headers",
                "path",
                "anonymous",
                "auth_timeout",
                "ping_interval",
                "max_unanswered"
            ]
        );
    }
}
