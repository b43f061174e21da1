//! A broker is killed under load and started again: what comes in meanwhile, how soon everything is back, and what waiting costs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use poa_gilmour::engine::State;
use poa_gilmour::{Call, Data, Gilmour, Message, Topic};
use poa_test_nats::Servers;
use poa_test_redis::Server as Redis;

use super::library::AT_ONCE;
use crate::Failure;
use crate::process::cpu_of;
use crate::report::table;

/// How long the broker is loaded before it is killed, and how long it is away.
const TIME: Duration = Duration::from_secs(3);
/// The pause of a client after a failure.
const PAUSE: Duration = Duration::from_millis(20);

/// The outcomes of requests, by the code: 200, or that of the error.
#[derive(Default)]
struct Seen(Mutex<BTreeMap<i64, u64>>);

impl Seen {
    fn add(&self, code: i64) {
        *self.0.lock().entry(code).or_default() += 1;
    }

    fn take(&self) -> BTreeMap<i64, u64> {
        std::mem::take(&mut self.0.lock())
    }
}

/// A broker that can be killed and started again, at the same address.
pub(super) trait Broker {
    fn kill(&mut self);
    fn start(&mut self) -> Result<(), Failure>;
}

impl Broker for Redis {
    fn kill(&mut self) {
        Self::kill(self);
    }

    fn start(&mut self) -> Result<(), Failure> {
        Self::start(self);
        Ok(())
    }
}

impl Broker for Servers {
    fn kill(&mut self) {
        Self::kill(self, 0);
    }

    fn start(&mut self) -> Result<(), Failure> {
        Ok(self.resume(0)?)
    }
}

/// The row of a broker, whose two sides are these.
pub(super) async fn row(
    name: &str,
    broker: &mut impl Broker,
    asking: Gilmour,
    serving: Gilmour,
) -> Result<Vec<String>, Failure> {
    let echo = Topic::new("echo")?;
    let _service = serving.reply(&echo, async |call: Call| Message::ok(call.data)).await?;
    let (seen, stop) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
    let workers: Vec<_> = (0..AT_ONCE)
        .map(|_| tokio::spawn(ask(asking.clone(), echo.clone(), seen.clone(), stop.clone())))
        .collect();
    tokio::time::sleep(TIME).await;
    let before = seen.take();
    broker.kill();
    until(&asking, |state| !state.is_up()).await?;
    seen.take();
    let cpu = cpu_of(std::process::id())?;
    tokio::time::sleep(TIME).await;
    let (cpu, meanwhile) = (cpu_of(std::process::id())? - cpu, seen.take());
    broker.start()?;
    let begin = Instant::now();
    until(&asking, State::is_up).await?;
    until(&serving, State::is_up).await?;
    let back = begin.elapsed();
    stop.store(true, Relaxed);
    for worker in workers {
        worker.await?;
    }
    let rate = before.get(&200).copied().unwrap_or(0) as f64 / TIME.as_secs_f64();
    let codes: Vec<_> = meanwhile.keys().map(ToString::to_string).collect();
    Ok(vec![
        name.to_owned(),
        format!("{rate:.0}"),
        codes.join(", "),
        format!("{:.0} %", 100.0 * cpu.as_secs_f64() / TIME.as_secs_f64()),
        format!("{:.2} s", back.as_secs_f64()),
    ])
}

pub(super) fn show(rows: &[Vec<String>]) {
    println!("A broker is killed under load, and started again after {} s\n", TIME.as_secs());
    table(
        &[
            "broker",
            "requests/s before",
            "codes meanwhile",
            "of a core meanwhile",
            "all subscriptions back",
        ],
        rows,
    );
}

async fn ask(asking: Gilmour, topic: Topic, seen: Arc<Seen>, stop: Arc<AtomicBool>) {
    while !stop.load(Relaxed) {
        match asking.request(&topic, &Data::text("first")).await {
            Ok(reply) => seen.add(reply.code),
            Err(error) => {
                seen.add(error.code());
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn until(gilmour: &Gilmour, is: impl Fn(&State) -> bool) -> Result<(), Failure> {
    let mut state = gilmour.engine().state();
    tokio::time::timeout(super::library::PATIENCE, state.wait_for(is)).await??;
    Ok(())
}
