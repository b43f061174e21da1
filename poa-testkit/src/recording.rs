//! A receiver that records everything it gets.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use poa_core::{
    Activity, ControlMessage, DeliveryError, Message, Receiver, ReceiverFactory, async_trait,
};
use tokio::sync::watch;

/// The record of a receiver, oldest first, over all its instances.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Record {
    /// The batches of messages.
    pub batches: Vec<Vec<Message>>,
    /// Every change of an agent, to active and to inactive.
    pub activity: Vec<Activity>,
    /// Messages from the host about itself.
    pub control: Vec<ControlMessage>,
    /// The number of instances built.
    pub built: u64,
    /// The number of instances terminated.
    pub terminated: u64,
}

impl Record {
    /// All messages, in the order they arrived; one that was delivered twice occurs twice.
    pub fn messages(&self) -> impl Iterator<Item = &Message> {
        self.batches.iter().flatten()
    }
}

/// The handle of [`RecordingReceiver`]s: creates them, and waits for the calls they get. Cloning is
/// cheap.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use poa_testkit::{Recording, TestHost};
/// use serde_json::json;
///
/// let recording = Recording::new();
/// let host = TestHost::with_receiver(recording.factory()).await;
/// host.deliver(host.draft("agent-1", "system_metrics", &json!({"cpu_load": 1.5}))).await.unwrap();
/// assert_eq!(recording.messages(1).await[0].agent_id().as_str(), "agent-1");
/// assert!(host.stop().await.is_clean());
/// # }
/// ```
#[derive(Clone)]
pub struct Recording {
    record: watch::Sender<Record>,
    patience: Duration,
}

/// The time limit of waits. Far more than any test needs, so that only one that hangs reaches it.
const PATIENCE: Duration = Duration::from_secs(600);

impl Default for Recording {
    fn default() -> Self {
        Self::new()
    }
}

impl Recording {
    /// An empty recording.
    #[must_use]
    pub fn new() -> Self {
        Self { record: watch::Sender::default(), patience: PATIENCE }
    }

    /// Sets the time limit of waits; ten minutes if not set.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// A receiver that writes to this recording.
    #[must_use]
    pub fn receiver(&self) -> RecordingReceiver {
        self.record.send_modify(|record| record.built += 1);
        RecordingReceiver(self.record.clone())
    }

    /// A factory of such receivers.
    #[must_use]
    pub fn factory(&self) -> ReceiverFactory {
        let recording = self.clone();
        Arc::new(move |_| {
            let receiver = Box::new(recording.receiver()) as Box<dyn Receiver>;
            Box::pin(async { Ok(receiver) })
        })
    }

    /// The record so far.
    #[must_use]
    pub fn record(&self) -> Record {
        self.record.borrow().clone()
    }

    /// Waits until at least `count` messages were delivered; returns all of them.
    ///
    /// Cancel safe.
    ///
    /// # Panics
    /// When they do not arrive in time.
    pub async fn messages(&self, count: usize) -> Vec<Message> {
        let record = self.until(|record| record.messages().count() >= count).await;
        record.messages().cloned().collect()
    }

    /// Waits until the record satisfies the condition.
    ///
    /// Cancel safe.
    ///
    /// # Panics
    /// When it does not do so in time.
    pub async fn until(&self, condition: impl FnMut(&Record) -> bool) -> Record {
        let mut changes = self.record.subscribe();
        let satisfied = changes.wait_for(condition);
        if let Ok(record) = tokio::time::timeout(self.patience, satisfied).await {
            return record.expect("the sender is part of `self`").clone();
        }
        panic!("waited {:?} in vain; the record so far: {:#?}", self.patience, self.record());
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recording({} messages)", self.record.borrow().messages().count())
    }
}

/// A receiver that confirms everything and writes to its [`Recording`].
#[derive(Debug)]
pub struct RecordingReceiver(watch::Sender<Record>);

#[async_trait]
impl Receiver for RecordingReceiver {
    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        self.0.send_modify(|record| record.batches.push(batch.to_vec()));
        Ok(())
    }

    async fn handle_inactive(&mut self, agents: &[Activity]) -> Result<(), DeliveryError> {
        self.0.send_modify(|record| record.activity.extend_from_slice(agents));
        Ok(())
    }

    async fn handle_active(&mut self, agents: &[Activity]) -> Result<(), DeliveryError> {
        self.handle_inactive(agents).await
    }

    async fn handle_message(&mut self, message: ControlMessage) -> Result<(), DeliveryError> {
        self.0.send_modify(|record| record.control.push(message));
        Ok(())
    }

    async fn terminate(&mut self) {
        self.0.send_modify(|record| record.terminated += 1);
    }
}
