//! The bus in one process: against a channel, with more receivers, with a stuck one, and catching up from disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use poa_core::{
    Ack, AgentId, BuildContext, DeliveryError, Draft, Format, Host, HostHandle, Message, Payload,
    Receiver, ReceiverFactory, ReceiverOptions,
};
use tokio::sync::{Notify, mpsc};

use crate::Failure;
use crate::engine::Engine;
use crate::process::scratch;
use crate::report::{median, table};

const ROUNDS: usize = 5;
const TIME: Duration = Duration::from_secs(2);
const DATA: &str = r#"{"type":"statistics","body":{"active":true,"gasPrice":1000000000,"hashrate":0,"mining":false,"peers":5,"syncing":{"currentBlock":"0x44ee0","highestBlock":"0x44ee2"},"uptime":100.0}}"#;

/// The behaviour of a receiver.
#[derive(Clone)]
enum Behaviour {
    /// Counts messages.
    Counts(Arc<AtomicU64>),
    /// Never returns.
    Stuck,
    /// Counts messages, once it is released.
    Waits(Arc<AtomicU64>, Arc<Notify>, Arc<AtomicBool>),
}

#[async_trait]
impl Receiver for Behaviour {
    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        match self {
            Self::Counts(count) => drop(count.fetch_add(batch.len() as u64, Relaxed)),
            Self::Stuck => std::future::pending().await,
            Self::Waits(count, let_go, open) => {
                while !open.load(Relaxed) {
                    let_go.notified().await;
                }
                count.fetch_add(batch.len() as u64, Relaxed);
            }
        }
        Ok(())
    }
}

fn factory(behaviour: &Behaviour) -> ReceiverFactory {
    let behaviour = behaviour.clone();
    Arc::new(move |_: &BuildContext| {
        let behaviour = behaviour.clone();
        Box::pin(async { Ok(Box::new(behaviour) as Box<dyn Receiver>) })
    })
}

pub(crate) fn run() -> Result<(), Failure> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        against_a_channel().await?;
        more_receivers().await?;
        catching_up().await
    })
}

pub(crate) fn draft(host: &HostHandle, agent: &AgentId) -> Result<Draft, Failure> {
    let data_type = host.data_types().iter().next().ok_or("no data type")?.clone();
    let payload = Payload::new(Format::Json, DATA.into());
    Ok(Draft::new(agent.clone(), data_type, payload))
}

async fn start(
    engine: Engine,
    ack: Ack,
    receivers: &[Behaviour],
) -> Result<(Host, tempfile::TempDir), Failure> {
    let dir = scratch()?;
    let mut builder = Host::builder()
        .data_types(["m"])
        .data_dir(dir.path())
        .engine_from(engine.name(), engine.factory())
        .ack(ack)
        .stop_timeouts(Duration::from_secs(1), Duration::from_secs(1));
    for (n, behaviour) in receivers.iter().enumerate() {
        let mut options = ReceiverOptions::subscribe(["m"]);
        let plenty = poa_core::config::Size::bytes(1 << 36);
        options.backlog.max_bytes = Some(plenty);
        builder = builder.receiver_from(&n.to_string(), options, factory(behaviour));
    }
    Ok((builder.start().await?, dir))
}

/// One publisher that never waits; messages are counted by the receiver.
async fn against_a_channel() -> Result<(), Failure> {
    const COUNT: u64 = 1_000_000;
    let (mut channel, mut bus, mut ratio) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let through_channel = channel_rate(COUNT).await?;
        let through_bus = bus_rate(COUNT).await?;
        channel.push(through_channel);
        bus.push(through_bus);
        ratio.push(through_bus / through_channel);
    }
    println!(
        "Dispatch in one process, one publisher, one receiver, {COUNT} messages, medians of {ROUNDS} rounds\n"
    );
    let row = |name: &str, rate: Vec<f64>, ratio: f64| {
        vec![name.to_owned(), format!("{:.0}", median(rate)), format!("{ratio:.2}")]
    };
    table(
        &["way", "messages/s", "of the channel"],
        &[
            row("tokio mpsc, the same messages", channel, 1.0),
            row("the bus, `engine = memory`", bus, median(ratio)),
        ],
    );
    Ok(())
}

async fn channel_rate(count: u64) -> Result<f64, Failure> {
    let (host, _dir) = start(Engine::Memory, Ack::Memory, &[]).await?;
    let (handle, agent) = (host.handle(), AgentId::new("agent")?);
    let (sender, mut receiver) = mpsc::channel::<Draft>(100_000);
    let begin = Instant::now();
    let counting = tokio::spawn(async move {
        let (mut batch, mut seen) = (Vec::new(), 0);
        while receiver.recv_many(&mut batch, 1000).await > 0 {
            seen += batch.len() as u64;
            batch.clear();
        }
        seen
    });
    for _ in 0..count {
        sender.send(draft(&handle, &agent)?).await?;
    }
    drop(sender);
    let seen = counting.await?;
    Ok(seen as f64 / begin.elapsed().as_secs_f64())
}

async fn bus_rate(count: u64) -> Result<f64, Failure> {
    let seen = Arc::new(AtomicU64::new(0));
    let (host, _dir) =
        start(Engine::Memory, Ack::Memory, &[Behaviour::Counts(seen.clone())]).await?;
    let (handle, agent) = (host.handle(), AgentId::new("agent")?);
    let begin = Instant::now();
    let publishing = tokio::spawn(async move {
        for n in 0..count {
            handle.send_to_receivers(draft(&handle, &agent)?)?.await?;
            if n % 256 == 0 {
                tokio::task::yield_now().await;
            }
        }
        Ok::<_, Failure>(())
    });
    publishing.await??;
    until(&seen, count).await;
    let rate = count as f64 / begin.elapsed().as_secs_f64();
    host.stop().await;
    Ok(rate)
}

async fn until(seen: &AtomicU64, count: u64) {
    while seen.load(Relaxed) < count {
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
}

/// Messages acknowledged to 64 publishers, with different receivers.
async fn more_receivers() -> Result<(), Failure> {
    let counts = || Behaviour::Counts(Arc::default());
    let cases = [
        ("one receiver", vec![counts()]),
        ("two receivers", vec![counts(), counts()]),
        ("one receiver, and a stuck one", vec![counts(), Behaviour::Stuck]),
        ("one receiver again", vec![counts()]),
    ];
    let mut rates: Vec<(Vec<f64>, Vec<f64>)> = cases.iter().map(|_| Default::default()).collect();
    for _ in 0..ROUNDS {
        let mut first = None;
        for ((_, receivers), (rates, ratios)) in cases.iter().zip(&mut rates) {
            let rate = acknowledged(receivers).await?;
            ratios.push(rate / *first.get_or_insert(rate));
            rates.push(rate);
        }
    }
    println!(
        "64 publishers, `engine = log`, `ack = stored`, medians of {ROUNDS} rounds of {} s\n",
        TIME.as_secs()
    );
    let rows: Vec<_> = cases
        .iter()
        .zip(rates)
        .map(|((name, _), (rates, ratios))| {
            vec![
                (*name).to_owned(),
                format!("{:.0}", median(rates)),
                format!("{:.2}", median(ratios)),
            ]
        })
        .collect();
    table(&["receivers", "acknowledged/s", "of one receiver"], &rows);
    Ok(())
}

async fn acknowledged(receivers: &[Behaviour]) -> Result<f64, Failure> {
    let (host, _dir) = start(Engine::Log, Ack::Stored, receivers).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let begin = Instant::now();
    let publishers: Vec<_> = (0..64)
        .map(|n| {
            let (handle, stop) = (host.handle(), stop.clone());
            tokio::spawn(async move {
                let agent = AgentId::new(format!("agent-{n}"))?;
                let mut count = 0_u64;
                while !stop.load(Relaxed) {
                    handle.send_to_receivers(draft(&handle, &agent)?)?.await?;
                    count += 1;
                }
                Ok::<_, Failure>(count)
            })
        })
        .collect();
    tokio::time::sleep(TIME).await;
    stop.store(true, Relaxed);
    let mut count = 0;
    for publisher in publishers {
        count += publisher.await??;
    }
    let rate = count as f64 / begin.elapsed().as_secs_f64();
    host.stop().await;
    Ok(rate)
}

/// The speed at which a receiver that was stopped gets its backlog from disk.
async fn catching_up() -> Result<(), Failure> {
    const COUNT: u64 = 500_000;
    let (mut rates, mut megabytes) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (seen, let_go, open) = (Arc::default(), Arc::new(Notify::new()), Arc::default());
        let waits = Behaviour::Waits(Arc::clone(&seen), let_go.clone(), Arc::clone(&open));
        let (host, _dir) = start(Engine::Log, Ack::Memory, &[waits]).await?;
        let (handle, agent) = (host.handle(), AgentId::new("agent")?);
        let mut sent = 0;
        while sent < COUNT {
            match handle.send_to_receivers(draft(&handle, &agent)?) {
                Ok(receipt) => {
                    receipt.await?;
                    sent += 1;
                }
                // Memory outruns the disk; let it catch up.
                Err(error) if *error.reason() == poa_core::Refused::LogBusy => {
                    tokio::time::sleep(Duration::from_millis(5)).await
                }
                Err(refused) => return Err(refused.into()),
            }
        }
        let begin = Instant::now();
        open.store(true, Relaxed);
        let_go.notify_one();
        until(&seen, COUNT).await;
        let rate = COUNT as f64 / begin.elapsed().as_secs_f64();
        rates.push(rate);
        megabytes.push(rate * DATA.len() as f64 / 1e6);
        host.stop().await;
    }
    println!("Catching up from disk, {COUNT} messages, medians of {ROUNDS} rounds\n");
    table(
        &["messages/s", "MB/s of data"],
        &[vec![format!("{:.0}", median(rates)), format!("{:.0}", median(megabytes))]],
    );
    Ok(())
}
