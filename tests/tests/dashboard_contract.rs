//! The parts of the receiver contract that apply to a dashboard.
//!
//! It shows the last values and stores none, so "stored once" means nothing here: a message that comes again is shown again, as what it
//! is, the last value. What stays is all that the host relies on: it takes any object in both formats, refuses for good what cannot be
//! read and nothing beside it, survives being cut off at any point, lost confirmations and failures, lets go of memory, and stops in time. So
//! what counts as stored is here what the host counts as delivered. That it is shown, the tests of the feed say.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::sync::{Arc, Mutex};

use poa_core::{
    Activity, ControlMessage, DeliveryError, Message, Receiver, ReceiverFactory, async_trait,
};
use poa_receiver_dashboard::{Config, Dashboard};
use poa_testkit::{receiver_contract, receiver_factory};

/// The ids of what was confirmed, each once.
type Confirmed = Arc<Mutex<Vec<String>>>;

struct Noted {
    inner: Box<dyn Receiver>,
    confirmed: Confirmed,
}

#[async_trait]
impl Receiver for Noted {
    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        self.inner.metrics_received(batch).await?;
        let mut confirmed = self.confirmed.lock().unwrap();
        for id in batch.iter().map(|message| message.id().to_string()) {
            if !confirmed.contains(&id) {
                confirmed.push(id);
            }
        }
        Ok(())
    }

    async fn handle_inactive(&mut self, agents: &[Activity]) -> Result<(), DeliveryError> {
        self.inner.handle_inactive(agents).await
    }

    async fn handle_active(&mut self, agents: &[Activity]) -> Result<(), DeliveryError> {
        self.inner.handle_active(agents).await
    }

    async fn handle_message(&mut self, message: ControlMessage) -> Result<(), DeliveryError> {
        self.inner.handle_message(message).await
    }

    async fn terminate(&mut self) {
        self.inner.terminate().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard() {
    let confirmed = Confirmed::default();
    let dashboard =
        receiver_factory::<Dashboard>(Config::listen(([127, 0, 0, 1], 0)).secret("wssecret"));
    let noted = confirmed.clone();
    let factory: ReceiverFactory = Arc::new(move |cx| {
        let (dashboard, confirmed) = (dashboard.clone(), noted.clone());
        Box::pin(async move {
            let inner = dashboard(cx).await?;
            Ok(Box::new(Noted { inner, confirmed }) as Box<dyn Receiver>)
        })
    });
    receiver_contract(factory, async || confirmed.lock().unwrap().clone()).await;
}
