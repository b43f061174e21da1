#![doc = include_str!("../README.md")]

mod agents;
mod aggregate;
mod line;

use std::net::SocketAddr;

use poa_core::config::{Duration, Problem};
use poa_core::telemetry::Counter;
use poa_core::{
    BuildContext, BuildError, CustomHandler, DataType, Draft, HandlerContext, Plugin, PluginError,
    ReceiptError, async_trait,
};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use agents::Agents;
use line::Line;

/// The configuration section. These comments become the documentation of the keys.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The address to listen on. UDP has no authentication, so keep it on loopback or in a private network.
    #[serde(default = "default_listen")]
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// The data type of the messages.
    #[serde(default = "default_data_type")]
    pub data_type: String,
    /// The time between two messages of an agent. Samples in between are aggregated.
    #[serde(default = "default_flush_interval")]
    pub flush_interval: Duration,
}

fn default_listen() -> SocketAddr {
    ([127, 0, 0, 1], 8125).into()
}

fn default_data_type() -> String {
    "statsd_metrics".to_owned()
}

fn default_flush_interval() -> Duration {
    Duration::from_secs(10)
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: default_listen(),
            data_type: default_data_type(),
            flush_interval: default_flush_interval(),
        }
    }
}

/// The largest datagram that is read; the rest of a larger one is lost.
const DATAGRAM: usize = 65_535;
/// At a stop, the socket is read until it is quiet for `QUIET`, for at most `DRAIN`.
const QUIET: std::time::Duration = std::time::Duration::from_millis(10);
const DRAIN: std::time::Duration = std::time::Duration::from_secs(1);
/// The most messages that wait for their receipts.
const IN_FLIGHT: usize = 4096;

/// Aggregates StatsD samples and sends them as messages.
#[derive(Debug)]
pub struct Statsd {
    socket: UdpSocket,
    data_type: DataType,
    flush_interval: std::time::Duration,
}

#[async_trait]
impl Plugin for Statsd {
    type Config = Config;

    fn validate(config: &Config) -> Vec<Problem> {
        let zero = config.flush_interval.get().is_zero();
        zero.then(|| Problem::new("flush_interval", "must be greater than zero"))
            .into_iter()
            .collect()
    }

    async fn build(config: Config, cx: &BuildContext) -> Result<Self, BuildError> {
        let Config { listen, data_type, flush_interval } = config;
        let declared = cx.data_types().get(&data_type).cloned();
        let data_type = declared.ok_or_else(|| {
            BuildError::failed(format!(
                "data type `{data_type}` is not declared; add it to `metrics`"
            ))
        })?;
        let socket = UdpSocket::bind(listen).await.map_err(|error| {
            BuildError::failed(format!("cannot listen on {listen}")).with_source(error)
        })?;
        Ok(Self { socket, data_type, flush_interval: flush_interval.get() })
    }
}

#[async_trait]
impl CustomHandler for Statsd {
    async fn run(&mut self, cx: HandlerContext) -> Result<(), PluginError> {
        let mut work = Work::new(&cx, self.data_type.clone());
        let mut flush = interval(self.flush_interval);
        flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is immediate.
        flush.tick().await;
        let mut datagram = vec![0; DATAGRAM];
        loop {
            tokio::select! {
                () = cx.shutdown().cancelled() => break,
                _ = flush.tick() => work.flush(),
                received = self.socket.recv_from(&mut datagram) => {
                    let (length, from) = received
                        .map_err(|error| PluginError::new("cannot receive").with_source(error))?;
                    work.add(&datagram[..length], from);
                }
                Some(outcome) = work.receipts.join_next() => report(outcome.ok()),
            }
        }
        self.drain(&mut work, &mut datagram).await;
        work.finish().await;
        Ok(())
    }

    fn endpoints(&self) -> Vec<String> {
        self.socket.local_addr().map(|at| format!("udp://{at}")).into_iter().collect()
    }
}

impl Statsd {
    /// Reads the datagrams that arrived before the stop.
    async fn drain(&self, work: &mut Work<'_>, datagram: &mut [u8]) {
        let deadline = Instant::now() + DRAIN;
        while Instant::now() < deadline
            && let Ok(Ok((length, from))) = timeout(QUIET, self.socket.recv_from(datagram)).await
        {
            work.add(&datagram[..length], from);
        }
    }
}

/// The state of a running handler.
struct Work<'a> {
    cx: &'a HandlerContext,
    data_type: DataType,
    agents: Agents,
    /// A set that is dropped aborts its tasks, so none outlives the handler.
    receipts: JoinSet<Result<(), ReceiptError>>,
    invalid: Counter,
    dropped: Counter,
    refusing: bool,
}

impl<'a> Work<'a> {
    fn new(cx: &'a HandlerContext, data_type: DataType) -> Self {
        let counter = |name, help| cx.telemetry().counter(name, help, &[("handler", cx.name())]);
        Self {
            cx,
            data_type,
            agents: Agents::default(),
            receipts: JoinSet::new(),
            invalid: counter("statsd_invalid_lines", "Lines that are not valid StatsD"),
            dropped: counter(
                "statsd_dropped_lines",
                "Lines dropped at a limit of agents or series",
            ),
            refusing: false,
        }
    }

    fn add(&mut self, datagram: &[u8], from: SocketAddr) {
        let text = String::from_utf8_lossy(datagram);
        for line in text.lines().filter(|line| !line.is_empty()) {
            match Line::parse(line) {
                Ok(line) => {
                    if !self.agents.add(from.ip(), line) {
                        self.dropped.inc();
                    }
                }
                Err(error) => {
                    self.invalid.inc();
                    tracing::debug!(%from, line, "invalid line: {error}");
                }
            }
        }
    }

    /// Sends the aggregates. A client cannot be asked to send again, so refused ones stay and grow until there is room.
    fn flush(&mut self) {
        let Self { cx, data_type, agents, receipts, refusing, .. } = self;
        agents.flush(data_type, |draft: Draft| {
            if receipts.len() >= IN_FLIGHT {
                return false;
            }
            match cx.send_to_receivers(draft) {
                Ok(receipt) => _ = receipts.spawn(receipt),
                Err(error) => {
                    if !std::mem::replace(refusing, true) {
                        tracing::warn!("samples wait for the next flush: {error}");
                    }
                    return false;
                }
            }
            *refusing = false;
            true
        });
    }

    /// Sends the last aggregates, and waits for all receipts.
    async fn finish(mut self) {
        self.flush();
        while let Some(outcome) = self.receipts.join_next().await {
            report(outcome.ok());
        }
    }
}

/// Logs a message whose receipt failed.
fn report(outcome: Option<Result<(), ReceiptError>>) {
    if let Some(Err(error)) = outcome {
        tracing::warn!("samples may be lost: {error}");
    }
}
