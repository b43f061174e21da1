use std::net::SocketAddr;

use poa_core::config::Problem;
use poa_http::{Limits, Tls};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What an operator writes in the section of a REST handler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Config {
    /// Where to listen.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// The certificate for HTTPS; plain HTTP when absent.
    pub tls: Option<Tls>,
    /// What a client may cost.
    pub limits: Limits,
    /// Lets everybody speak for every agent, without a token. Only on a loopback address.
    pub anonymous: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 4002).into(),
            tls: None,
            limits: Limits::default(),
            anonymous: false,
        }
    }
}

impl Config {
    /// The defaults, on this address.
    #[must_use]
    pub fn listen(addr: impl Into<SocketAddr>) -> Self {
        Self { listen: addr.into(), ..Self::default() }
    }

    pub(crate) fn problems(&self) -> Vec<Problem> {
        let limits = self.limits.validate().into_iter();
        let mut problems: Vec<_> = limits.map(|problem| problem.under("limits")).collect();
        if self.anonymous && !self.listen.ip().is_loopback() {
            problems.push(Problem::new(
                "anonymous",
                format!(
                    "would let anybody who reaches {} write; listen on 127.0.0.1, or remove it and use tokens",
                    self.listen
                ),
            ));
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
        assert_eq!(config.listen.to_string(), "127.0.0.1:4002");
        assert_eq!(config.limits.body.get(), 8_000_000);
        assert!(config.problems().is_empty());
    }

    #[test]
    fn anonymous_stays_on_this_machine() {
        assert!(read("anonymous = true").problems().is_empty());
        assert!(read("anonymous = true\nlisten = \"[::1]:4002\"").problems().is_empty());
        let problems = read("anonymous = true\nlisten = \"0.0.0.0:4002\"").problems();
        assert_eq!(
            problems[0].to_string(),
            "anonymous: would let anybody who reaches 0.0.0.0:4002 write; \
             listen on 127.0.0.1, or remove it and use tokens"
        );
    }

    #[test]
    fn limits_are_checked_in_their_table() {
        let problems = read("limits = { max_connections = 0, body_timeout = \"0s\" }").problems();
        let paths: Vec<_> = problems.iter().map(|problem| problem.path.join(".")).collect();
        assert_eq!(paths, ["limits.body_timeout", "limits.max_connections"]);
    }

    #[test]
    fn unknown_keys_are_refused() {
        let error = toml::from_str::<Config>("lisen = \"127.0.0.1:1\"").unwrap_err().to_string();
        assert!(error.contains("unknown field `lisen`"), "{error}");
    }
}
