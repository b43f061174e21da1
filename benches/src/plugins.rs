//! The overhead of a boundary: the same messages through the log to a receiver that does nothing, compiled in, in a
//! shared library, and in a child process. Once while they are published, and once from disk alone, where the boundary
//! is the only work.

use std::collections::BTreeMap;
use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use poa_core::config::Size;
use poa_core::{
    Ack, AgentId, BuildContext, BuildError, DeliveryError, Draft, Format, Host, HostHandle,
    Message, Payload, Plugin, Receiver, ReceiverFactory, ReceiverOptions, Refused, Registry,
};
use poa_exec::ExecReceiver;
use poa_plugin::host::Library;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Failure;
use crate::process::scratch;
use crate::report::{median, table};

const ROUNDS: usize = 6;
const PUBLISHERS: usize = 64;
const TIME: Duration = Duration::from_secs(2);
const COUNT: u64 = 500_000;
const DATA: &str = r#"{"type":"statistics","body":{"active":true,"gasPrice":1000000000,"hashrate":0,"mining":false,"peers":5,"syncing":{"currentBlock":"0x44ee0","highestBlock":"0x44ee2"},"uptime":100.0}}"#;

/// Confirms everything and does nothing.
struct Null;

#[async_trait]
impl Plugin for Null {
    type Config = BTreeMap<String, String>;

    async fn build(_: Self::Config, _: &BuildContext) -> Result<Self, BuildError> {
        Ok(Self)
    }
}

#[async_trait]
impl Receiver for Null {
    async fn metrics_received(&mut self, _: &[Message]) -> Result<(), DeliveryError> {
        Ok(())
    }
}

/// Never confirms, so that everything stays in the log.
struct Full;

#[async_trait]
impl Plugin for Full {
    type Config = BTreeMap<String, String>;

    async fn build(_: Self::Config, _: &BuildContext) -> Result<Self, BuildError> {
        Ok(Self)
    }
}

#[async_trait]
impl Receiver for Full {
    async fn metrics_received(&mut self, _: &[Message]) -> Result<(), DeliveryError> {
        std::future::pending().await
    }
}

pub(crate) fn run() -> Result<(), Failure> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure())
}

/// The path of the library built by `cargo xtask bench`.
fn library() -> Result<PathBuf, Failure> {
    let built = std::env::var_os("POA_TEST_PLUGINS");
    let built = built.ok_or("set POA_TEST_PLUGINS, or run `cargo xtask bench plugins`")?;
    Ok(PathBuf::from(built).join("libplugin_unruly.so"))
}

async fn measure() -> Result<(), Failure> {
    let registry = Registry::new()
        .receiver::<Null>("compiled in")
        .receiver::<Full>("full")
        .receiver::<ExecReceiver>("exec");
    let registry = Library::load(&library()?)?.register(registry);
    let factory = |kind: &str, config: Value| {
        let kind = registry.receivers().get(kind).ok_or("no such kind")?;
        kind.configure(config).map_err(|problems| format!("{problems:?}"))
    };
    let child = json!({ "command": [std::env::current_exe()?, "null-child"] });
    let ways = [
        ("compiled in", factory("compiled in", json!({}))?),
        ("shared library", factory("null", json!({}))?),
        ("child process", factory("exec", child)?),
    ];
    let filled = fill(factory("full", json!({}))?).await?;
    let (mut live, mut waiting) = (vec![Vec::new(); ways.len()], vec![Vec::new(); ways.len()]);
    for round in 0..ROUNDS {
        // Each way is first in turn, so that effects of one run on the next are spread evenly.
        let order = (0..ways.len()).map(|place| (place + round) % ways.len());
        for way in order.clone() {
            live[way].push(as_they_come(ways[way].1.clone()).await?);
        }
        for way in order {
            waiting[way].push(from_the_disk(filled.path(), ways[way].1.clone()).await?);
        }
    }
    let names = ways.map(|(name, _)| name);
    println!(
        "A receiver that does nothing, medians of {ROUNDS} rounds; the ratio is the median of the ratios of the rounds\n"
    );
    println!(
        "{PUBLISHERS} publishers for {} s, `ack = stored`, until every message is delivered\n",
        TIME.as_secs()
    );
    report(names, &live);
    println!("A backlog of {COUNT} messages in the log\n");
    report(names, &waiting);
    Ok(())
}

fn report(names: [&str; 3], rates: &[Vec<f64>]) {
    let rows: Vec<_> = names
        .into_iter()
        .zip(rates)
        .map(|(name, own)| {
            let ratios = own.iter().zip(&rates[0]).map(|(rate, first)| rate / first).collect();
            let rate = format!("{:.0}", median(own.clone()));
            vec![name.to_owned(), rate, format!("{:.2}", median(ratios))]
        })
        .collect();
    table(&["plugin", "messages/s", "of compiled in"], &rows);
}

/// The rate of messages from publishers, each sending ten at a time, to a receiver.
async fn as_they_come(factory: ReceiverFactory) -> Result<f64, Failure> {
    let dir = scratch()?;
    let host = host(dir.path(), Ack::Stored, factory).await?;
    let begin = Instant::now();
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|n| {
            let handle = host.handle();
            tokio::spawn(async move {
                let agent = AgentId::new(format!("agent-{n}"))?;
                let cx = handle.context("bench");
                let mut sent = 0;
                while begin.elapsed() < TIME {
                    let drafts: Vec<_> = (0..10).map(|_| draft(&handle, &agent)).collect();
                    cx.send_all_to_receivers(drafts)?.await?;
                    sent += 10;
                }
                Ok::<u64, Failure>(sent)
            })
        })
        .collect();
    let mut sent = 0;
    for publisher in publishers {
        sent += publisher.await??;
    }
    until(&host.handle(), sent).await?;
    let rate = sent as f64 / begin.elapsed().as_secs_f64();
    host.stop().await;
    Ok(rate)
}

fn draft(host: &HostHandle, agent: &AgentId) -> Draft {
    let data_type = host.data_types().get("m").expect("the host has this type").clone();
    Draft::new(agent.clone(), data_type, Payload::new(Format::Json, DATA.into()))
}

async fn host(data_dir: &Path, ack: Ack, factory: ReceiverFactory) -> Result<Host, Failure> {
    let mut options = ReceiverOptions::subscribe(["m"]).timeout(Duration::from_secs(3600));
    options.backlog.max_bytes = Some(Size::bytes(1 << 36));
    let host = Host::builder()
        .data_types(["m"])
        .data_dir(data_dir)
        .engine::<poa_engine_local::Log>("log", Default::default())
        .ack(ack)
        .stop_timeouts(Duration::from_secs(1), Duration::from_secs(1))
        .receiver_from("r", options, factory);
    Ok(host.start().await?)
}

/// A data directory whose log holds all messages for the receiver.
async fn fill(full: ReceiverFactory) -> Result<tempfile::TempDir, Failure> {
    let dir = scratch()?;
    let host = host(dir.path(), Ack::Memory, full).await?;
    let handle = host.handle();
    let agents: Vec<_> =
        (0..100).map(|n| AgentId::new(format!("agent-{n}"))).collect::<Result<_, _>>()?;
    for agent in agents.iter().cycle().take(COUNT as usize) {
        send(&handle, agent).await?;
    }
    host.stop().await;
    Ok(dir)
}

async fn send(host: &HostHandle, agent: &AgentId) -> Result<(), Failure> {
    loop {
        match host.send_to_receivers(draft(host, agent)) {
            Ok(receipt) => return Ok(receipt.await?),
            // Memory outruns the disk; let it catch up.
            Err(error) if *error.reason() == Refused::LogBusy => {
                tokio::time::sleep(Duration::from_millis(5)).await
            }
            Err(refused) => return Err(refused.into()),
        }
    }
}

/// Messages per second, from the first to the last delivered.
async fn from_the_disk(filled: &Path, factory: ReceiverFactory) -> Result<f64, Failure> {
    let dir = scratch()?;
    copy(filled, dir.path())?;
    let host = host(dir.path(), Ack::Memory, factory).await?;
    let handle = host.handle();
    let already = until(&handle, 1).await?;
    let begin = Instant::now();
    let all = until(&handle, COUNT).await?;
    let rate = (all - already) as f64 / begin.elapsed().as_secs_f64();
    host.stop().await;
    Ok(rate)
}

/// Waits until this many messages are delivered; returns the number.
async fn until(host: &HostHandle, count: u64) -> Result<u64, Failure> {
    let limit = Instant::now() + Duration::from_secs(120);
    loop {
        let plugins = host.status().plugins;
        let delivered = plugins.iter().find_map(|plugin| plugin.delivery).ok_or("no receiver")?;
        if delivered.delivered >= count {
            return Ok(delivered.delivered);
        }
        if Instant::now() > limit {
            return Err(format!("only {delivered:?} within two minutes").into());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let (path, to) = match entry {
            Ok(entry) => (entry.path(), to.join(entry.file_name())),
            Err(error) => return Err(error.into()),
        };
        if path.is_dir() {
            copy(&path, &to)?;
        } else {
            std::fs::copy(&path, &to)?;
        }
    }
    Ok(())
}

/// The keys of a frame that the child reads; it ignores the others.
#[derive(Deserialize)]
struct Frame<'f> {
    #[serde(rename = "type")]
    kind: &'f str,
    id: Option<u64>,
}

/// The child that does nothing, until its input ends.
pub(crate) fn child() -> Result<(), Failure> {
    let mut output = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let frame: Frame<'_> = serde_json::from_str(&line)?;
        match (frame.kind, frame.id) {
            ("hello", _) => writeln!(output, r#"{{"type":"ready","protocol":1}}"#)?,
            ("batch", Some(id)) => writeln!(output, r#"{{"type":"ack","id":{id}}}"#)?,
            _ => {}
        }
        output.flush()?;
    }
    Ok(())
}
