//! A receiver that is watched.

use std::sync::Arc;

use poa_core::{
    Activity, ControlMessage, DeliveryError, Message, Receiver, ReceiverContext, ReceiverFactory,
    async_trait,
};

use super::Taps;

/// Builds the receiver of `factory`, and lets `taps` see what it confirms.
pub(crate) fn watched(factory: ReceiverFactory, name: &str, taps: &Taps) -> ReceiverFactory {
    let (name, taps): (Arc<str>, _) = (name.into(), taps.clone());
    Arc::new(move |cx| {
        let (factory, name, taps) = (Arc::clone(&factory), Arc::clone(&name), taps.clone());
        Box::pin(async move {
            let inner = factory(cx).await?;
            Ok(Box::new(Watched { inner, name, taps }) as Box<dyn Receiver>)
        })
    })
}

struct Watched {
    inner: Box<dyn Receiver>,
    name: Arc<str>,
    taps: Taps,
}

// A method that is not forwarded would not reach any receiver.
#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Receiver for Watched {
    async fn start(&mut self, cx: ReceiverContext) -> Result<(), DeliveryError> {
        self.inner.start(cx).await
    }

    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        self.inner.metrics_received(batch).await?;
        self.taps.delivered(&self.name, batch);
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

    fn endpoints(&self) -> Vec<String> {
        self.inner.endpoints()
    }
}
