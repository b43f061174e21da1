//! The cost of agents that only ping.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use poa_core::{
    Activity, AgentId, BoxError, BuildContext, DeliveryError, Host, Message, Receiver,
    ReceiverFactory, ReceiverOptions,
};
use tokio::sync::mpsc;

use crate::Failure;
use crate::process::{cpu_of, resident, scratch};
use crate::report::table;

const AGENTS: usize = 100_000;
/// Agents ping every three seconds.
const INTERVAL: Duration = Duration::from_secs(3);
const ROUNDS: u32 = 5;

/// Records when agents were reported inactive.
struct Watch(mpsc::UnboundedSender<(AgentId, Instant)>);

#[async_trait]
impl Receiver for Watch {
    async fn metrics_received(&mut self, _: &[Message]) -> Result<(), DeliveryError> {
        Ok(())
    }

    async fn handle_inactive(&mut self, agents: &[Activity]) -> Result<(), DeliveryError> {
        let now = Instant::now();
        for change in agents {
            let sent = self.0.send((change.agent_id.clone(), now));
            sent.map_err(|error| DeliveryError::permanent(BoxError::from(error.to_string())))?;
        }
        Ok(())
    }
}

pub(crate) fn run() -> Result<(), Failure> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure())
}

async fn measure() -> Result<(), Failure> {
    let (sender, mut inactive) = mpsc::unbounded_channel();
    let factory: ReceiverFactory = Arc::new(move |_: &BuildContext| {
        let sender = sender.clone();
        Box::pin(async move { Ok(Box::new(Watch(sender)) as Box<dyn Receiver>) })
    });
    let dir = scratch()?;
    let host = Host::builder()
        .engine::<poa_engine_local::Memory>("memory", Default::default())
        .data_types(["m"])
        .data_dir(dir.path())
        .receiver_from("watch", ReceiverOptions::subscribe(["m"]), factory)
        .start()
        .await?;
    let monitor = host.handle().context("bench").activity().clone();
    let agents = (0..AGENTS)
        .map(|n| AgentId::new(format!("agent-{n:08}")))
        .collect::<Result<Vec<_>, _>>()?;

    let before = resident()?;
    let mut last = vec![Instant::now(); AGENTS];
    let cpu_before = cpu_of(std::process::id())?;
    let begin = Instant::now();
    let mut grown = 0;
    for _ in 0..ROUNDS {
        ping_all(&monitor, &agents, &mut last).await;
        grown = resident()?.saturating_sub(before);
    }
    let wall = begin.elapsed().as_secs_f64();
    let cpu = (cpu_of(std::process::id())? - cpu_before).as_secs_f64();

    let index: std::collections::HashMap<_, _> =
        agents.iter().enumerate().map(|(n, agent)| (agent.clone(), n)).collect();
    let (mut earliest, mut latest, mut reported) = (f64::MAX, 0_f64, vec![false; AGENTS]);
    for _ in 0..AGENTS {
        let (agent, at) = inactive.recv().await.ok_or("the host stopped")?;
        let n = index[&agent];
        if std::mem::replace(&mut reported[n], true) {
            return Err(format!("{agent} was reported twice").into());
        }
        let silent = (at - last[n]).as_secs_f64();
        (earliest, latest) = (earliest.min(silent), latest.max(silent));
    }
    host.stop().await;

    println!("{AGENTS} agents, each pinging every {} s\n", INTERVAL.as_secs());
    let figure = |name: &str, value: String| vec![name.to_owned(), value];
    table(
        &["figure", "value"],
        &[
            figure("memory per agent", format!("{} bytes", grown / AGENTS as u64)),
            figure("processor, share of one core", format!("{:.1} %", cpu / wall * 100.0)),
            figure("reported inactive", format!("{AGENTS}, each once")),
            figure("reported after a silence of", format!("{earliest:.3} to {latest:.3} s")),
        ],
    );
    Ok(())
}

/// Each agent pings once, spread over the interval.
async fn ping_all(
    monitor: &poa_core::activity::ActivityMonitor,
    agents: &[AgentId],
    last: &mut [Instant],
) {
    const SLICES: usize = 300;
    let mut tick = tokio::time::interval(INTERVAL / SLICES as u32);
    for (agents, last) in
        agents.chunks(AGENTS.div_ceil(SLICES)).zip(last.chunks_mut(AGENTS.div_ceil(SLICES)))
    {
        tick.tick().await;
        for (agent, last) in agents.iter().zip(last) {
            // As in a handler: the id is parsed each time.
            let Ok(agent) = AgentId::new(agent.as_str()) else { continue };
            monitor.ping(&agent);
            *last = Instant::now();
        }
    }
}
