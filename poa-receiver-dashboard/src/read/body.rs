//! The bodies of the metrics that the page shows.

use serde::{Deserialize, Deserializer, Serialize};

use super::scalar::Scalar;
use super::{INFORMATION, STATISTICS};

/// The change that a metric makes to the page. A body of unexpected shape makes none.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Update {
    /// No change.
    Nothing,
    /// The description of the agent.
    About(Box<About>),
    /// The state of its node.
    Chain(Chain),
    /// The load of its machine.
    System(System),
    /// The latency of the agent's calls, in milliseconds.
    Latency(f64),
    /// The latest block of the node.
    Block(Block),
    /// Pending transactions.
    Pending(f64),
}

/// The description of an agent: the body of `information`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct About {
    name: Line,
    node: Line,
    net: Line,
    protocol: Line,
    client: Line,
    os: Line,
    os_v: Line,
    contact: Line,
    coinbase: Line,
}

/// The state of a node: the body of `statistics` in `ethereum_metrics`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Chain {
    pub(crate) peers: Figure,
    pub(crate) hashrate: Figure,
    /// In wei.
    #[serde(alias = "gasPrice")]
    pub(crate) gas_price: Figure,
    uptime: Figure,
    mining: YesOrNo,
    pub(crate) syncing: Syncing,
}

/// The progress of a node's synchronisation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "SyncingIn")]
pub(crate) struct Syncing {
    on: bool,
    current: Figure,
    highest: Figure,
}

/// The load of a machine, in percent: the body of `statistics` in `system_metrics`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct System {
    pub(crate) cpu: Figure,
    pub(crate) memory: Figure,
    pub(crate) disk: Figure,
}

/// A block, without its contents.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Block {
    pub(crate) number: Figure,
    /// In seconds since 1970.
    timestamp: Figure,
}

impl Update {
    /// The meaning of a body of this type.
    pub(crate) fn read(data_type: &str, kind: &str, body: &str) -> Self {
        let update = match (data_type, kind) {
            (_, INFORMATION) => parse(body).map(|about| Self::About(Box::new(about))),
            ("system_metrics", STATISTICS) => {
                parse::<SystemIn>(body).map(|load| Self::System(load.in_percent()))
            }
            (_, STATISTICS) => parse(body).map(Self::Chain),
            (_, "latency") => {
                parse::<LatencyIn>(body).and_then(|it| it.latency.0).map(Self::Latency)
            }
            (_, "pending") => {
                parse::<PendingIn>(body).and_then(|it| it.pending.0).map(Self::Pending)
            }
            (_, "block") => parse(body).map(Self::Block),
            _ => None,
        };
        update.unwrap_or(Self::Nothing)
    }
}

fn parse<T: for<'de> Deserialize<'de>>(body: &str) -> Option<T> {
    // serde would also fill the fields of a struct from an array.
    body.trim_start().starts_with('{').then(|| serde_json::from_str(body).ok()).flatten()
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SystemIn {
    cpu_load: Figure,
    memory_usage: Figure,
    disk_usage: Figure,
}

impl SystemIn {
    /// Agents send the memory as a fraction, the other figures in percent.
    fn in_percent(self) -> System {
        let memory = self.memory_usage.0;
        let memory = Figure(memory.map(|used| if used <= 1.0 { used * 100.0 } else { used }));
        System { cpu: self.cpu_load, memory, disk: self.disk_usage }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LatencyIn {
    latency: Figure,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PendingIn {
    pending: Figure,
}

/// `false`, `true`, or the progress; also the stored form of [`Syncing`].
#[derive(Deserialize)]
#[serde(untagged)]
enum SyncingIn {
    Progress {
        #[serde(default = "yes")]
        on: bool,
        #[serde(alias = "currentBlock", default)]
        current: Figure,
        #[serde(alias = "highestBlock", default)]
        highest: Figure,
    },
    Other(Scalar),
}

const fn yes() -> bool {
    true
}

impl From<SyncingIn> for Syncing {
    fn from(read: SyncingIn) -> Self {
        match read {
            SyncingIn::Progress { on, current, highest } => Self { on, current, highest },
            SyncingIn::Other(scalar) => Self { on: scalar.flag() == Some(true), ..Self::default() },
        }
    }
}

/// A number, if there is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Figure(pub(crate) Option<f64>);

impl<'de> Deserialize<'de> for Figure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Scalar::deserialize(deserializer).map(|scalar| Self(scalar.number()))
    }
}

/// A line of text, if there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Line(Option<String>);

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Scalar::deserialize(deserializer).map(|scalar| Self(scalar.text()))
    }
}

/// True, false, or absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct YesOrNo(Option<bool>);

impl<'de> Deserialize<'de> for YesOrNo {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Scalar::deserialize(deserializer).map(|scalar| Self(scalar.flag()))
    }
}
