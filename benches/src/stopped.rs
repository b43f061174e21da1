//! A receiver that is stopped for a minute under full load: its effect on the other receiver and on memory, and
//! whether it gets all messages in the end.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use poa_core::{
    Ack, AgentId, BuildContext, DeliveryError, Host, HostHandle, Message, MessageId, Receiver,
    ReceiverFactory, ReceiverOptions,
};
use tokio::sync::watch;

use crate::Failure;
use crate::bus::draft;
use crate::process::{resident, scratch};
use crate::report::table;

const BEFORE: Duration = Duration::from_secs(20);
const STOPPED: Duration = Duration::from_secs(60);
const PUBLISHERS: usize = 64;

/// The messages of a receiver.
#[derive(Debug, Default)]
struct Got {
    messages: AtomicU64,
    out_of_order: AtomicU64,
}

/// Counts messages and checks their order; waits while it is stopped.
struct Stoppable {
    stopped: watch::Receiver<bool>,
    got: Arc<Got>,
    last: HashMap<AgentId, MessageId>,
}

#[async_trait]
impl Receiver for Stoppable {
    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        let going_on = self.stopped.wait_for(|stopped| !stopped).await;
        going_on.map_err(DeliveryError::transient)?;
        for message in batch {
            let last = self.last.insert(message.agent_id().clone(), message.id());
            if last.is_some_and(|last| last >= message.id()) {
                self.got.out_of_order.fetch_add(1, Relaxed);
            }
        }
        self.got.messages.fetch_add(batch.len() as u64, Relaxed);
        Ok(())
    }
}

fn factory(stopped: &watch::Sender<bool>, got: &Arc<Got>) -> ReceiverFactory {
    let (stopped, got) = (stopped.subscribe(), got.clone());
    Arc::new(move |_: &BuildContext| {
        let last = HashMap::new();
        let receiver = Stoppable { stopped: stopped.clone(), got: got.clone(), last };
        Box::pin(async { Ok(Box::new(receiver) as Box<dyn Receiver>) })
    })
}

pub(crate) fn run() -> Result<(), Failure> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure())
}

async fn measure() -> Result<(), Failure> {
    let (healthy, late) = (Arc::new(Got::default()), Arc::new(Got::default()));
    let published = Arc::new(AtomicU64::new(0));
    let (never, stop) = (watch::Sender::new(false), watch::Sender::new(false));
    let dir = scratch()?;
    let mut options = ReceiverOptions::subscribe(["m"]).timeout(Duration::from_secs(3600));
    options.backlog.max_bytes = Some(poa_core::config::Size::bytes(1 << 36));
    let host = Host::builder()
        .data_types(["m"])
        .data_dir(dir.path())
        .engine::<poa_engine_local::Log>("log", Default::default())
        .ack(Ack::Stored)
        .receiver_from("healthy", options.clone(), factory(&never, &healthy))
        .receiver_from("late", options, factory(&stop, &late))
        .start()
        .await?;
    let handle = host.handle();
    let before = load(&handle, &healthy, &published, BEFORE).await?;
    let memory_before = resident()?;
    stop.send_replace(true);
    let during = load(&handle, &healthy, &published, STOPPED).await?;
    let memory_during = resident()?;
    let begin = Instant::now();
    let waiting = published.load(Relaxed) - late.messages.load(Relaxed);
    stop.send_replace(false);
    caught_up(&late, published.load(Relaxed)).await?;
    let catching_up = begin.elapsed().as_secs_f64();
    let after = load(&handle, &healthy, &published, BEFORE).await?;
    caught_up(&late, published.load(Relaxed)).await?;
    host.stop().await;

    println!(
        "A receiver stopped for {} s, {PUBLISHERS} publishers, `ack = stored`\n",
        STOPPED.as_secs()
    );
    let figure = |name: &str, value: String| vec![name.to_owned(), value];
    let mebi = |bytes: u64| format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20));
    table(
        &["figure", "value"],
        &[
            figure(
                "the other receiver, before and after",
                format!("{before:.0} and {after:.0} messages/s"),
            ),
            figure("the other receiver, during the stop", format!("{during:.0} messages/s")),
            figure(
                "meanwhile, of before and after",
                format!("{:.2}", during / f64::midpoint(before, after)),
            ),
            figure(
                "resident memory before, and at the end of the stop",
                format!("{}, {}", mebi(memory_before), mebi(memory_during)),
            ),
            figure(
                "backlog, and time to catch up",
                format!("{waiting} messages, {catching_up:.1} s"),
            ),
            figure(
                "acknowledged, and received by the stopped one",
                format!("{}, {}", published.load(Relaxed), late.messages.load(Relaxed)),
            ),
            figure("out of order per agent", late.out_of_order.load(Relaxed).to_string()),
        ],
    );
    Ok(())
}

/// Waits until this receiver has this many messages.
async fn caught_up(got: &Got, count: u64) -> Result<(), Failure> {
    let limit = Instant::now() + Duration::from_secs(120);
    while got.messages.load(Relaxed) < count {
        if Instant::now() > limit {
            let got = got.messages.load(Relaxed);
            return Err(format!("{got} of {count} messages after two minutes").into());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// Publishes for this long; returns the rate of `got` per second.
async fn load(
    handle: &HostHandle,
    got: &Got,
    published: &Arc<AtomicU64>,
    time: Duration,
) -> Result<f64, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let (begin, first) = (Instant::now(), got.messages.load(Relaxed));
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|n| {
            let (handle, stop, published) = (handle.clone(), stop.clone(), published.clone());
            tokio::spawn(async move {
                let agent = AgentId::new(format!("agent-{n}"))?;
                while !stop.load(Relaxed) {
                    handle.send_to_receivers(draft(&handle, &agent)?)?.await?;
                    published.fetch_add(1, Relaxed);
                }
                Ok::<_, Failure>(())
            })
        })
        .collect();
    tokio::time::sleep(time).await;
    let rate = (got.messages.load(Relaxed) - first) as f64 / begin.elapsed().as_secs_f64();
    stop.store(true, Relaxed);
    for publisher in publishers {
        publisher.await??;
    }
    Ok(rate)
}
