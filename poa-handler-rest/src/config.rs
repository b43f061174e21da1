use poa_core::config::Problem;
use poa_http::{Limits, Listen, Tls};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The section of a handler of kind `rest`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Config {
    /// Address and port, such as `127.0.0.1:4002`, `localhost:4002` or `:4002` for all addresses.
    pub listen: Listen,
    /// The certificate for HTTPS; plain HTTP when absent.
    pub tls: Option<Tls>,
    /// Limits of this listener.
    pub limits: Limits,
    /// Accepts calls for every agent without a token. Only on a loopback address.
    pub anonymous: bool,
    /// The most items of a batch; 413 above it.
    #[schemars(range(min = 1))]
    pub max_items: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 4002).into(),
            tls: None,
            limits: Limits::default(),
            anonymous: false,
            max_items: poa_protocol::Limits::default().max_items,
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
        if self.anonymous && !self.listen.is_loopback() {
            problems.push(Problem::new(
                "anonymous",
                format!(
                    "would let every client that can connect to {} send data; listen on 127.0.0.1, or remove it and use tokens",
                    self.listen
                ),
            ));
        }
        if self.max_items == 0 {
            problems.push(Problem::new("max_items", "must be at least 1"));
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
            "anonymous: would let every client that can connect to 0.0.0.0:4002 send data; \
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
