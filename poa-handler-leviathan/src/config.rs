use std::path::PathBuf;

use poa_core::config::{Duration, Problem, Secret};
use poa_http::{Limits, Listen, Tls};
use poa_leviathan::docker::SOCKET;
use poa_leviathan::model::Wiring;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The section of a Leviathan handler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Config {
    /// The address to listen on.
    pub listen: Listen,
    /// The certificate for HTTPS; plain HTTP when absent.
    pub tls: Option<Tls>,
    /// Limits for clients.
    pub limits: Limits,
    /// The bearer token that opens the interface, at least 8 characters. May be absent on a loopback address only; web pages of other hosts are then
    /// refused.
    pub token: Option<Secret>,
    /// The one host id that the interface knows.
    pub host: String,
    /// The meaning of container ids.
    pub resolver: ResolverKind,
    /// The directory of named network namespaces, for `resolver = "netns"`.
    pub netns_dir: PathBuf,
    /// The socket of the Docker daemon, for `resolver = "docker"`.
    pub docker_socket: PathBuf,
    /// Whether a CEN that `POST /cpool` makes gets a CIN of its name when no CIN covers it.
    pub cpool_cins: bool,
    /// The executor that changes the host.
    pub executor: ExecutorKind,
    /// How CENs are wired: `always_bus` gives each a bridge; `auto` joins two members by a direct wire.
    #[schemars(with = "WiringKind")]
    pub wiring: Wiring,
    /// The data type of the messages about changes, one of `metrics`; no messages when absent.
    pub events: Option<String>,
    /// The file that keeps definitions, relative to `data_dir`; made if missing, readable by its owner only.
    pub path: PathBuf,
    /// The longest that a look at the host or one operation may take.
    pub deadline: Duration,
    /// How often the host is compared with the definitions when nothing else calls for it.
    pub interval: Duration,
}

/// The meaning of container ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ResolverKind {
    /// A network namespace made with `ip netns add`.
    #[default]
    Netns,
    /// A container of Docker, by its short id or name.
    Docker,
}

/// The executors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ExecutorKind {
    /// The kernel, by netlink. Needs CAP_NET_ADMIN and CAP_SYS_ADMIN.
    #[default]
    Netlink,
    /// Changes no interface: keeps a host in memory and puts the commands into the answers to `?wait=true`. Containers of pools are started.
    Record,
}

/// For the schema alone.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[allow(dead_code, reason = "the library has no schema of its own type")]
enum WiringKind {
    AlwaysBus,
    Auto,
}

/// The shortest token.
const MIN_TOKEN: usize = 8;

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 8081).into(),
            tls: None,
            limits: Limits::default(),
            token: None,
            host: "host1".to_owned(),
            resolver: ResolverKind::Netns,
            netns_dir: "/run/netns".into(),
            docker_socket: SOCKET.into(),
            cpool_cins: false,
            executor: ExecutorKind::Netlink,
            wiring: Wiring::AlwaysBus,
            events: None,
            path: "leviathan.db".into(),
            deadline: Duration::from_secs(30),
            interval: Duration::from_secs(30),
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
        let mut refuse = |wrong: bool, path: &str, message: String| {
            if wrong {
                problems.push(Problem::new(path, message));
            }
        };
        let open = format!(
            "is required: without one, every program that reaches {} could change the networks of this host; set it, or listen on 127.0.0.1",
            self.listen
        );
        refuse(self.token.is_none() && !self.listen.is_loopback(), "token", open);
        let length = self.token.as_ref().map(|token| token.expose().len());
        let short = format!("must have at least {MIN_TOKEN} characters");
        refuse(length.is_some_and(|length| length < MIN_TOKEN), "token", short);
        let is_name = poa_leviathan::ContainerId::new(&self.host).is_ok();
        refuse(!is_name, "host", "must have only letters, digits and `_.-`".to_owned());
        let nameless =
            format!("`{}` names no file; write one such as \"leviathan.db\"", self.path.display());
        refuse(self.path.file_name().is_none(), "path", nameless);
        for (key, time) in [("deadline", self.deadline), ("interval", self.interval)] {
            let zero = "must be greater than zero; write a time such as \"30s\"".to_owned();
            refuse(time.get().is_zero(), key, zero);
        }
        problems
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
        assert_eq!(Config::default().listen.to_string(), "127.0.0.1:8081");
    }

    #[test]
    fn what_cannot_work_is_named() {
        let found = problems(
            "listen = \"0.0.0.0:1\"\nhost = \"a/b\"\npath = \"\"\ndeadline = \"0s\"\ninterval = \"0s\"",
        );
        let keys: Vec<_> = found.iter().map(|text| text.split(':').next().unwrap()).collect();
        assert_eq!(keys, ["token", "host", "path", "deadline", "interval"]);
        assert_eq!(problems("listen = \"0.0.0.0:1\"\ntoken = \"12345678\"").len(), 0);
        assert_eq!(problems("token = \"1234567\"").len(), 1);
    }

    #[test]
    fn words_are_those_of_the_documentation() {
        let config: Config =
            toml::from_str("wiring = \"auto\"\nexecutor = \"record\"\nresolver = \"netns\"")
                .unwrap();
        assert_eq!((config.wiring, config.executor), (Wiring::Auto, ExecutorKind::Record));
        let config: Config = toml::from_str("resolver = \"docker\"\ncpool_cins = true").unwrap();
        assert_eq!((config.resolver, config.cpool_cins), (ResolverKind::Docker, true));
        assert!(toml::from_str::<Config>("wirng = \"auto\"").is_err());
    }
}
