//! Changes of networks as messages.

use std::time::Duration;

use poa_core::{
    AgentId, DataType, Draft, HandlerContext, IdempotencyKey, Payload, Receipt, ReceiptError,
    Refused,
};
use poa_leviathan::Leviathan;
use poa_leviathan::event::Event;
use poa_leviathan::store::Unconfirmed;
use serde_json::json;
use tokio::sync::watch;

/// How many events are read at once.
const BATCH: usize = 64;
/// How long to wait before a message that the bus did not take is sent again.
const PAUSE: Duration = Duration::from_secs(1);

/// How far events were told.
#[derive(Clone, Debug, Default)]
struct Progress {
    /// Up to this sequence, events are where they should be, or will never be.
    settled: i64,
    /// The sequence of the last that was not delivered, and why.
    failed: Option<(i64, String)>,
    /// How often the bus refused.
    refusals: u64,
}

/// Waits for events to be told.
#[derive(Clone, Debug)]
pub(crate) struct Told(watch::Receiver<Progress>);

impl Told {
    /// Returns when every event up to this sequence was told.
    ///
    /// An error is the reason why one was not. It may still be told later.
    pub(crate) async fn wait_for(&self, sequence: i64) -> Result<(), String> {
        let mut progress = self.0.clone();
        let begin = progress.borrow().clone();
        if begin.settled >= sequence {
            return Ok(());
        }
        let settled =
            progress.wait_for(|now| now.settled >= sequence || now.refusals > begin.refusals);
        let now = settled.await.map_err(|_| "the server stops".to_owned())?.clone();
        let why = "the change is made, but its event is not";
        match now.failed {
            Some((failed, reason)) if failed > begin.settled => {
                Err(format!("{why} delivered: {reason}"))
            }
            _ if now.settled >= sequence => Ok(()),
            _ => Err(format!("{why} taken yet; it will be sent again")),
        }
    }
}

/// Sends the events that were stored to the receivers of a host.
pub(crate) struct Teller {
    cx: HandlerContext,
    leviathan: Leviathan,
    data_type: DataType,
    progress: watch::Sender<Progress>,
}

impl Teller {
    pub(crate) fn new(
        cx: HandlerContext,
        leviathan: Leviathan,
        data_type: DataType,
    ) -> (Self, Told) {
        let (progress, receiver) = watch::channel(Progress::default());
        (Self { cx, leviathan, data_type, progress }, Told(receiver))
    }

    /// Tells until the host stops. An event is forgotten only when its receipt is there: after a crash it is sent again, under the same key.
    pub(crate) async fn run(self) {
        let mut told = self.leviathan.told();
        loop {
            told.mark_unchanged();
            let events = self.leviathan.unconfirmed(BATCH).await;
            match events {
                Ok(events) if events.is_empty() => {
                    if told.changed().await.is_err() {
                        return;
                    }
                }
                Ok(events) => self.tell_all(&events).await,
                Err(error) => {
                    tracing::warn!("events cannot be read: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn tell_all(&self, events: &[Unconfirmed]) {
        for event in events {
            while let Err(reason) = self.tell(event).await {
                tracing::warn!(
                    handler = self.cx.name(),
                    "an event of a network is sent again: {reason}"
                );
                self.progress.send_modify(|progress| progress.refusals += 1);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// An error means that it is to be sent again.
    async fn tell(&self, unconfirmed: &Unconfirmed) -> Result<(), String> {
        let Unconfirmed { sequence, event } = unconfirmed;
        let draft = self.draft(event)?;
        let agent = draft.agent_id().clone();
        let failed = match self.send(*sequence, draft)?.await {
            Ok(()) => None,
            // It was set aside, or will be delivered: sending it again would deliver it twice.
            Err(error @ (ReceiptError::NotDelivered | ReceiptError::TimedOut)) => {
                Some(error.to_string())
            }
            Err(error) => return Err(error.to_string()),
        };
        if let Event::ContainerMissing { .. } = event {
            self.cx.publish_inactive(&agent);
        }
        self.leviathan.confirm(*sequence).await.map_err(|error| error.to_string())?;
        self.progress.send_modify(|progress| {
            progress.settled = *sequence;
            if let Some(reason) = failed {
                progress.failed = Some((*sequence, reason));
            }
        });
        Ok(())
    }

    /// Sends a message under a key, so that one that is sent again after a crash is stored once. Sequences start again with a new store: a key that
    /// belonged to another event is not used.
    fn send(&self, sequence: i64, draft: Draft) -> Result<Receipt, String> {
        let key = format!("leviathan {} {sequence}", self.cx.name());
        let key = IdempotencyKey::new(draft.agent_id(), &key).map_err(|error| error.to_string())?;
        match self.cx.send_to_receivers(draft.clone().with_idempotency_key(key)) {
            Err(error) if matches!(error.reason(), Refused::KeyReused) => {
                self.cx.send_to_receivers(draft).map_err(|error| error.to_string())
            }
            sent => sent.map_err(|error| error.to_string()),
        }
    }

    /// An event about a container is a message of that container, any other one of the host.
    fn draft(&self, event: &Event) -> Result<Draft, String> {
        let host = self.leviathan.host();
        let agent = event.container().map_or(host, |container| container.as_str());
        let agent = AgentId::new(agent).map_err(|error| error.to_string())?;
        let mut body = serde_json::to_value(event).map_err(|error| error.to_string())?;
        if let Some(body) = body.as_object_mut() {
            body.insert("hostID".to_owned(), json!(host));
        }
        let payload = Payload::json(&body).map_err(|error| error.to_string())?;
        Ok(Draft::new(agent, self.data_type.clone(), payload))
    }
}
