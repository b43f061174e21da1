//! The section `[bus.nats]`.

use std::path::PathBuf;

use poa_core::config::{Duration, Problem, Secret, Size};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The section `[bus.nats]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// The servers: `nats://host:4222`, or `tls://host:4222`. Name all of them; the first that answers is used.
    pub servers: Vec<String>,
    /// A file with the credentials of a user (`.creds`).
    #[serde(default)]
    pub credentials: Option<PathBuf>,
    /// The name of a user, with `password`.
    #[serde(default)]
    pub user: Option<String>,
    /// The password of `user`.
    #[serde(default)]
    pub password: Option<Secret>,
    /// A token, where the servers ask for one.
    #[serde(default)]
    pub token: Option<Secret>,
    /// Files for TLS, where those of the system do not do.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// The first part of the names of streams, buckets and subjects. Two clusters of poa on the same servers need two prefixes.
    #[serde(default = "prefix")]
    pub prefix: String,
    /// On how many servers each message is stored.
    #[serde(default = "replicas")]
    #[schemars(range(min = 1, max = 5))]
    pub replicas: usize,
    /// Into how many partitions agents are divided: at most so many nodes can run one receiver at a time. Fixed when the stream is created.
    #[serde(default = "partitions")]
    #[schemars(range(min = 1, max = 256))]
    pub partitions: u16,
    /// The most bytes that the stream keeps on each server. When they are reached, messages are refused.
    pub max_bytes: Size,
    /// The monitoring URLs of the servers, such as `http://127.0.0.1:8222`. The engine sees there whether the servers sync.
    #[serde(default)]
    pub monitor: Vec<String>,
    /// A file with the credentials of a user of the system account: another way to see whether the servers sync.
    #[serde(default)]
    pub system_credentials: Option<PathBuf>,
    /// Whether a bucket that was deleted while the stream has messages is created again, empty. Otherwise the engine does not start then:
    /// without its cursor, a receiver starts where its `from` says, and users are gone. Remove it after that start.
    #[serde(default)]
    pub recreate_buckets: bool,
    /// Whether the servers must sync a message to the disk before they acknowledge it.
    #[serde(default)]
    pub synced: Synced,
    /// The name of this node, unique in the cluster and the same after a restart. Absent: the host name and an id kept in `data_dir`.
    #[serde(default)]
    pub node: Option<String>,
    /// How long the servers may take to answer at the start.
    #[serde(default = "ten_seconds")]
    pub start_timeout: Duration,
    /// How long a publish may take. An answer that stays away for longer is an error, unless the message has an idempotency key.
    #[serde(default = "two_seconds")]
    pub ack_timeout: Duration,
    /// How long a message is tried to be stored, while the servers elect a leader.
    #[serde(default = "eight_seconds")]
    pub store_timeout: Duration,
    /// How long a node that ended holds its receivers up before another takes over, in whole seconds.
    #[serde(default = "ten_seconds")]
    pub lease: Duration,
    /// The most bytes of messages that wait in memory to be published.
    #[serde(default = "in_memory")]
    pub max_in_memory: Size,
}

/// Files for TLS, all in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Tls {
    /// Certificates of authorities that the servers' certificates may be signed by.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// The certificate of this client, with `key`.
    #[serde(default)]
    pub cert: Option<PathBuf>,
    /// The key of `cert`.
    #[serde(default)]
    pub key: Option<PathBuf>,
}

/// Whether the servers must sync a message to the disk before they acknowledge it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Synced {
    /// They must, and must show that they do. This alone survives a power cut of all servers.
    #[default]
    Required,
    /// That a message is in the memory of most servers is enough. A power cut of several servers at once loses messages.
    Replicated,
    /// The operator says that they do.
    Trust,
}

fn prefix() -> String {
    "poa".into()
}

fn replicas() -> usize {
    3
}

fn partitions() -> u16 {
    16
}

fn two_seconds() -> Duration {
    Duration::from_secs(2)
}

fn eight_seconds() -> Duration {
    Duration::from_secs(8)
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

fn in_memory() -> Size {
    Size::bytes(64 << 20)
}

/// Leader changes take up to 8.5 s, during which no lease can be renewed.
const SHORTEST_LEASE: u64 = 2;

impl Config {
    /// The default configuration for these servers.
    pub fn new<S: Into<String>>(servers: impl IntoIterator<Item = S>, max_bytes: u64) -> Self {
        Self {
            servers: servers.into_iter().map(Into::into).collect(),
            credentials: None,
            user: None,
            password: None,
            token: None,
            tls: None,
            prefix: prefix(),
            replicas: replicas(),
            partitions: partitions(),
            max_bytes: Size::bytes(max_bytes),
            monitor: Vec::new(),
            system_credentials: None,
            recreate_buckets: false,
            synced: Synced::default(),
            node: None,
            start_timeout: ten_seconds(),
            ack_timeout: two_seconds(),
            store_timeout: eight_seconds(),
            lease: ten_seconds(),
            max_in_memory: in_memory(),
        }
    }

    /// Every problem that shows without asking the servers.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let checks = [
            (
                self.servers.is_empty(),
                "servers",
                "names no server; write at least one, such as \"nats://127.0.0.1:4222\"",
            ),
            (
                !is_name(&self.prefix),
                "prefix",
                "must be 1 to 32 of the characters a-z, 0-9, _ and -",
            ),
            (
                !(1..=5).contains(&self.replicas),
                "replicas",
                "must be from 1 to 5; 3 survive the loss of one server",
            ),
            (!(1..=256).contains(&self.partitions), "partitions", "must be from 1 to 256"),
            (self.max_bytes.get() == 0, "max_bytes", "must be greater than zero"),
            (self.lease.get().as_secs() < SHORTEST_LEASE, "lease", "must be at least 2s"),
            (
                self.user.is_some() != self.password.is_some(),
                "user",
                "needs `password`, and the other way round",
            ),
            (self.node.as_deref() == Some(""), "node", "must not be empty"),
            (
                !self.sees_sync(),
                "synced",
                "needs `monitor` or `system_credentials` to see whether the servers sync; or write \"replicated\" or \"trust\" to do without",
            ),
        ];
        let found = checks.into_iter().filter(|(is_wrong, ..)| *is_wrong);
        found.map(|(_, key, text)| Problem::new(key, text)).collect()
    }

    fn sees_sync(&self) -> bool {
        let has_way = !self.monitor.is_empty() || self.system_credentials.is_some();
        has_way || self.synced != Synced::Required
    }
}

fn is_name(prefix: &str) -> bool {
    let is_plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    (1..=32).contains(&prefix.len()) && prefix.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_of_servers_and_monitors_is_complete() {
        let mut config = Config::new(["nats://127.0.0.1:4222"], 1 << 30);
        assert_eq!(config.problems().len(), 1, "synced");
        config.monitor.push("http://127.0.0.1:8222".into());
        assert!(config.problems().is_empty());
    }

    #[test]
    fn every_problem_is_reported() {
        let mut config = Config::new(Vec::<String>::new(), 0);
        (config.prefix, config.replicas, config.partitions) = ("a.b".into(), 6, 0);
        config.user = Some("poa".into());
        assert_eq!(config.problems().len(), 7);
    }
}
