//! Restarted plugins: the time limit of their building, and what they are told.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue should panic")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use poa_core::status::Phase;
use poa_core::{
    Activity, AgentId, BuildContext, ControlMessage, CustomHandler, DeliveryError, Draft,
    HandlerContext, HandlerFactory, Host, HostBuilder, HostHandle, Message, Payload, PluginError,
    Receiver, ReceiverFactory, ReceiverOptions, async_trait,
};
use poa_engine_local::{Memory, MemoryConfig};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

fn builder() -> (HostBuilder, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (
        Host::builder()
            .engine::<Memory>("memory", MemoryConfig::default())
            .data_types(["a"])
            .data_dir(dir.path().join("data")),
        dir,
    )
}

fn draft(host: &HostHandle) -> Draft {
    let payload = Payload::json(&serde_json::json!({})).unwrap();
    Draft::new(agent("sender"), host.data_types().get("a").unwrap().clone(), payload)
}

fn agent(name: &str) -> AgentId {
    AgentId::new(name).unwrap()
}

/// Ends immediately, so that it is rebuilt.
struct Ends;

#[async_trait]
impl CustomHandler for Ends {
    async fn run(&mut self, _: HandlerContext) -> Result<(), PluginError> {
        Ok(())
    }
}

/// The first instance is built immediately, all others never are. Counts the attempts.
fn never_again(built: &Arc<AtomicUsize>) -> HandlerFactory {
    let built = built.clone();
    Arc::new(move |_: &BuildContext| {
        let first = built.fetch_add(1, Ordering::Relaxed) == 0;
        Box::pin(async move {
            if !first {
                std::future::pending::<()>().await;
            }
            Ok(Box::new(Ends) as Box<dyn CustomHandler>)
        })
    })
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_hangs_while_it_is_rebuilt_is_abandoned_and_retried() {
    let (builder, _dir) = builder();
    let built = Arc::default();
    let limit = Duration::from_secs(3);
    let host = builder.start_timeout(limit).handler_from("h", never_again(&built));
    let host = host.start().await.unwrap();
    let begin = Instant::now();
    while built.load(Ordering::Relaxed) < 4 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(begin.elapsed() >= 2 * limit && begin.elapsed() < 4 * limit, "{:?}", begin.elapsed());
    let status = host.handle().status().plugins.remove(0);
    assert_eq!(status.last_error.as_deref(), Some("not built: no answer within 3s"));
    let begin = Instant::now();
    assert!(host.stop().await.is_clean());
    assert_eq!(
        begin.elapsed(),
        Duration::ZERO,
        "the stop waited for the instance that is being built"
    );
}

/// The calls a receiver got.
#[derive(Debug, PartialEq)]
enum Told {
    Built,
    Active(Vec<Activity>),
    Inactive(Vec<Activity>),
    Messages(usize),
    Stopping,
}

/// Forwards its calls, and panics over messages as often as it has to.
struct Fragile {
    told: mpsc::UnboundedSender<Told>,
    panics: Arc<Semaphore>,
    gate: Arc<Semaphore>,
}

impl Fragile {
    fn tell(&self, told: Told) -> Result<(), DeliveryError> {
        self.told.send(told).map_err(DeliveryError::transient)
    }
}

#[async_trait]
impl Receiver for Fragile {
    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        if let Ok(permit) = self.panics.try_acquire() {
            permit.forget();
            panic!("on purpose");
        }
        self.gate.acquire().await.map_err(DeliveryError::transient)?.forget();
        self.tell(Told::Messages(batch.len()))
    }

    async fn handle_active(&mut self, agents: &[Activity]) -> Result<(), DeliveryError> {
        self.tell(Told::Active(agents.to_vec()))
    }

    async fn handle_inactive(&mut self, agents: &[Activity]) -> Result<(), DeliveryError> {
        self.tell(Told::Inactive(agents.to_vec()))
    }

    async fn handle_message(&mut self, _: ControlMessage) -> Result<(), DeliveryError> {
        self.tell(Told::Stopping)
    }
}

struct Fixture {
    told: mpsc::UnboundedReceiver<Told>,
    panics: Arc<Semaphore>,
    gate: Arc<Semaphore>,
    host: Host,
    _dir: tempfile::TempDir,
}

impl Fixture {
    async fn start() -> Self {
        let (sender, told) = mpsc::unbounded_channel();
        let [panics, gate] = [(); 2].map(|()| Arc::new(Semaphore::new(0)));
        let (panic, open) = (panics.clone(), gate.clone());
        let factory: ReceiverFactory = Arc::new(move |_: &BuildContext| {
            let (told, panics, gate) = (sender.clone(), panic.clone(), open.clone());
            told.send(Told::Built).unwrap();
            Box::pin(async { Ok(Box::new(Fragile { told, panics, gate }) as Box<dyn Receiver>) })
        });
        let (builder, _dir) = builder();
        let options = ReceiverOptions::subscribe(["a"]).batch(2, Duration::ZERO);
        let host = builder.receiver_from("r", options, factory).start().await.unwrap();
        let mut fixture = Self { told, panics, gate, host, _dir };
        assert_eq!(fixture.next().await, Told::Built);
        fixture
    }

    async fn next(&mut self) -> Told {
        self.told.recv().await.unwrap()
    }

    fn send(&self) {
        drop(self.host.handle().send_to_receivers(draft(&self.host.handle())).unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_rebuilt_receiver_is_told_the_active_agents_before_anything_else() {
    let mut fixture = Fixture::start().await;
    let activity = fixture.host.handle().context("test").activity().clone();
    let mut active = Vec::new();
    for name in ["first", "second", "third", "left"] {
        activity.ping(&agent(name));
        let Told::Active(told) = fixture.next().await else {
            panic!("not told about active agents")
        };
        active.extend(told);
    }
    activity.bye(&agent("left"));
    assert!(matches!(fixture.next().await, Told::Inactive(_)));
    active.pop();

    fixture.panics.add_permits(1);
    fixture.gate.add_permits(1);
    fixture.send();
    assert_eq!(fixture.next().await, Told::Built);
    // In batches, with the times at which they became active.
    assert_eq!(fixture.next().await, Told::Active(active[..2].to_vec()));
    assert_eq!(fixture.next().await, Told::Active(active[2..].to_vec()));
    assert_eq!(fixture.next().await, Told::Messages(1));
    assert!(fixture.host.stop().await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn changes_in_the_backlog_follow_the_active_agents() {
    let mut fixture = Fixture::start().await;
    let activity = fixture.host.handle().context("test").activity().clone();
    activity.ping(&agent("leaves"));
    assert!(matches!(fixture.next().await, Told::Active(_)));
    fixture.panics.add_permits(1);
    fixture.gate.add_permits(1);
    fixture.send();
    // While the receiver is not running.
    while fixture.host.handle().status().plugins[0].phase != Phase::Restarting {
        tokio::task::yield_now().await;
    }
    activity.bye(&agent("leaves"));
    activity.ping(&agent("comes"));
    assert_eq!(fixture.next().await, Told::Built);
    let mut told = Vec::new();
    while told.len() < 3 {
        if let Told::Active(agents) | Told::Inactive(agents) = fixture.next().await {
            told.extend(agents.iter().map(|agent| (agent.agent_id.to_string(), agent.active)));
        }
    }
    let expected = [("comes", true), ("leaves", false), ("comes", true)];
    assert!(told.iter().map(|(name, active)| (&**name, *active)).eq(expected), "{told:?}");
    assert!(fixture.host.stop().await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_busy_when_the_host_stops_is_told_afterwards() {
    let mut fixture = Fixture::start().await;
    fixture.send();
    while fixture.host.handle().status().plugins[0].delivery.unwrap().backlog_messages == 0 {
        tokio::task::yield_now().await;
    }
    let gate = fixture.gate.clone();
    let open = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        gate.add_permits(1);
    });
    // Give the receiver time to take the message.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(fixture.host.stop().await.is_clean());
    open.await.unwrap();
    assert_eq!(fixture.told.recv().await.unwrap(), Told::Messages(1));
    assert_eq!(fixture.told.recv().await.unwrap(), Told::Stopping);
}
