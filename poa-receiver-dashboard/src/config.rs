use std::net::SocketAddr;
use std::path::PathBuf;

use poa_core::config::{Duration, Problem, Secret, Size};
use poa_http::{Limits, Tls};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::web::assets;

/// A web page of agents and a WebSocket feed of their metrics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Config {
    /// The address to listen on: the page is at `/`.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// The certificate for HTTPS; plain HTTP when absent.
    pub tls: Option<Tls>,
    /// Limits on clients.
    pub limits: Limits,
    /// The path of the WebSocket feed.
    pub ws_url: String,
    /// The secret for the page and the feed, at least 8 characters. The default is generated once and kept beside
    /// `path`, in a file that ends in `.secret`.
    pub ws_secret: Option<Secret>,
    /// The most data that waits for one client of the feed. At this limit, newer metrics replace older ones.
    pub queue: Size,
    /// The most agents that are kept. Beyond it, those not heard for longest are removed.
    #[schemars(range(min = 1))]
    pub agents: usize,
    /// The time after which an agent that is not active is removed.
    pub forget_after: Duration,
    /// The file with the last values, relative to `data_dir`; created if missing, readable by its owner only.
    pub path: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 8181).into(),
            tls: None,
            limits: Limits::default(),
            ws_url: "/ws".to_owned(),
            ws_secret: None,
            queue: Size::bytes(4 << 20),
            agents: 10_000,
            forget_after: Duration::from_secs(7 * 24 * 3600),
            path: "dashboard.db".into(),
        }
    }
}

/// The shortest secret.
const MIN_SECRET: usize = 8;
/// The smallest queue, in bytes.
const MIN_QUEUE: u64 = 64 << 10;

impl Config {
    /// The defaults, on this address.
    #[must_use]
    pub fn listen(addr: impl Into<SocketAddr>) -> Self {
        Self { listen: addr.into(), ..Self::default() }
    }

    /// Sets the secret.
    #[must_use]
    pub fn secret(mut self, secret: impl Into<String>) -> Self {
        self.ws_secret = Some(Secret::new(secret));
        self
    }

    pub(crate) fn problems(&self) -> Vec<Problem> {
        let limits = self.limits.validate().into_iter();
        let mut problems: Vec<_> = limits.map(|problem| problem.under("limits")).collect();
        let mut refuse = |wrong: bool, path: &str, message: String| {
            if wrong {
                problems.push(Problem::new(path, message));
            }
        };
        let secret = self.ws_secret.as_ref().map(|secret| secret.expose().len());
        let short = format!(
            "must have at least {MIN_SECRET} characters; remove the key to generate a secret"
        );
        refuse(secret.is_some_and(|length| length < MIN_SECRET), "ws_secret", short);
        refuse(!is_path(&self.ws_url), "ws_url", not_a_path(&self.ws_url));
        let small = "must be at least \"64KiB\"".to_owned();
        refuse(self.queue.get() < MIN_QUEUE, "queue", small);
        refuse(self.agents == 0, "agents", "must be at least 1".to_owned());
        let short = "must be greater than zero; write a time such as \"7days\"".to_owned();
        refuse(self.forget_after.get().is_zero(), "forget_after", short);
        let nameless =
            format!("`{}` names no file; write one such as \"dashboard.db\"", self.path.display());
        refuse(self.path.file_name().is_none(), "path", nameless);
        problems
    }
}

/// Whether the feed can be at this path: it needs no escape in any context, and is not used by the page.
fn is_path(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    text.len() > 1 && text.starts_with('/') && text.bytes().all(plain) && !assets::is_taken(text)
}

fn not_a_path(text: &str) -> String {
    if assets::is_taken(text) {
        format!("`{text}` is a path of the page; choose another such as \"/ws\"")
    } else {
        format!("`{text}` is not a path of letters, digits and `/-._~`; write one such as \"/ws\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let config: Config = toml::from_str(text).unwrap();
        config.problems().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn everything_has_a_default() {
        assert_eq!(problems(""), Vec::<String>::new());
        assert_eq!(Config::default().listen.to_string(), "127.0.0.1:8181");
    }

    #[test]
    fn problems_name_the_key_and_the_cure() {
        let found = problems(
            "ws_secret = \"short\"\nws_url = \"ws\"\nqueue = \"1KiB\"\nagents = 0\nforget_after = \"0s\"\npath = \"\"",
        );
        let keys: Vec<_> = found.iter().map(|text| text.split(':').next().unwrap()).collect();
        assert_eq!(keys, ["ws_secret", "ws_url", "queue", "agents", "forget_after", "path"]);
        assert!(!found[0].contains("short"), "{found:?}");
    }

    #[test]
    fn the_feed_is_where_nothing_else_is() {
        for bad in ["/", "", "ws", "/a b", "/<script>", "/session", "/style.css"] {
            let config = Config { ws_url: bad.to_owned(), ..Config::default() };
            assert_eq!(config.problems().len(), 1, "{bad}");
        }
        assert_eq!(problems("ws_url = \"/live/feed\""), Vec::<String>::new());
    }

    #[test]
    fn the_secret_never_shows() {
        let config = Config::default().secret("wssecret");
        assert!(!format!("{config:?}").contains("wssecret"));
    }
}
