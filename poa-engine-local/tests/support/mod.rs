//! Helpers of the tests of the bus: receivers that wait for permission, and messages with numbers.

#![allow(dead_code, reason = "no test uses all of it")]
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test that cannot continue should panic")]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use poa_core::{
    AgentId, BoxError, BuildContext, DeadLetter, DeadLetters, DeliveryError, Draft, Format, Host,
    HostBuilder, HostHandle, Message, Payload, Receiver, ReceiverFactory, async_trait,
};
use poa_engine_local::{Log, LogConfig};
use tokio::sync::{Semaphore, mpsc};

/// Forwards the numbers it receives, one batch for each permit.
pub struct Gated {
    permits: Arc<Semaphore>,
    numbers: mpsc::UnboundedSender<u64>,
}

#[async_trait]
impl Receiver for Gated {
    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        self.permits.acquire().await.unwrap().forget();
        for message in batch {
            self.numbers.send(number(message)).map_err(DeliveryError::transient)?;
        }
        Ok(())
    }
}

#[derive(serde::Serialize, serde::Deserialize)]
pub struct Numbered {
    n: u64,
    padding: String,
}

pub fn number(message: &Message) -> u64 {
    message.payload().read::<Numbered>().unwrap().n
}

/// A message of type `a`.
pub fn draft(host: &HostHandle, n: u64, padding: usize) -> Draft {
    draft_of(host, "a", n, padding)
}

pub fn draft_of(host: &HostHandle, data_type: &str, n: u64, padding: usize) -> Draft {
    let data_type = host.data_types().get(data_type).unwrap().clone();
    let payload = Payload::json(&Numbered { n, padding: "x".repeat(padding) }).unwrap();
    assert_eq!(payload.format(), Format::Json);
    Draft::new(AgentId::new("agent").unwrap(), data_type, payload)
}

/// Grants permits to the receivers of one name, and collects what they got.
pub struct Gate {
    pub permits: Arc<Semaphore>,
    pub got: mpsc::UnboundedReceiver<u64>,
    pub factory: ReceiverFactory,
}

pub fn gate(permits: usize) -> Gate {
    let permits = Arc::new(Semaphore::new(permits));
    let (numbers, got) = mpsc::unbounded_channel();
    let make = permits.clone();
    let factory: ReceiverFactory = Arc::new(move |_: &BuildContext| {
        let gated = Gated { permits: make.clone(), numbers: numbers.clone() };
        Box::pin(async { Ok(Box::new(gated) as Box<dyn Receiver>) })
    });
    Gate { permits, got, factory }
}

pub const OPEN: usize = Semaphore::MAX_PERMITS / 2;

/// A host with a log in this directory, without receivers.
pub fn builder(dir: &Path) -> HostBuilder {
    Host::builder()
        .data_types(["a", "b"])
        .data_dir(dir)
        .engine::<Log>("log", LogConfig::default())
        .stop_timeouts(Duration::from_secs(1), Duration::from_millis(300))
}

pub async fn take(gate: &mut Gate, count: u64) -> Vec<u64> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        numbers.push(gate.got.recv().await.unwrap());
    }
    numbers
}

/// Keeps dead letters in memory, once it is allowed to.
#[derive(Default)]
pub struct Letters {
    pub kept: Mutex<Vec<DeadLetter>>,
    pub permits: Option<Semaphore>,
}

#[async_trait]
impl DeadLetters for Letters {
    async fn keep(&self, letters: Vec<DeadLetter>) -> Result<(), BoxError> {
        if let Some(permits) = &self.permits {
            permits.acquire_many(u32::try_from(letters.len())?).await?.forget();
        }
        self.kept.lock().unwrap().extend(letters);
        Ok(())
    }
}

pub const MEBI: u64 = 1 << 20;

pub fn delivery(host: &HostHandle, receiver: &str) -> poa_core::status::DeliveryStatus {
    let plugins = host.status().plugins;
    plugins.iter().find(|plugin| plugin.name == receiver).unwrap().delivery.unwrap()
}

pub async fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
