//! A receiver in a library.

use std::ffi::c_void;
use std::sync::Arc;

use poa_core::{
    Activity, ControlMessage, DeliveryError, Message, Receiver, ReceiverContext, async_trait,
};

use super::batch::{LentActivities, LentBatch};
use super::handler::endpoints;
use super::instance::InUse;
use super::started::{LentStart, Started};
use crate::abi::{self, Activities, Call};

/// A receiver in a library, as seen by the core.
pub(crate) struct ForeignReceiver {
    /// Dropped before the instance. None until it starts, and for one that has no `start`.
    started: Option<Started>,
    instance: InUse,
}

type Changed = unsafe extern "C-unwind" fn(*mut c_void, *const Activities, Call);

impl ForeignReceiver {
    pub(crate) fn new(instance: InUse) -> Self {
        Self { started: None, instance }
    }

    async fn changed(
        &self,
        name: &'static str,
        function: Option<Changed>,
        agents: &[Activity],
    ) -> Result<(), DeliveryError> {
        let Some(changed) = function else { return Ok(()) };
        let lent = Arc::new(LentActivities::new(agents));
        let answer = self.instance.call(name, lent, move |instance, lent, call| {
            // SAFETY: a function of a library that is never unloaded; the lent data is kept until the call is
            // completed.
            unsafe { changed(instance, &raw const lent.view, call) }
        });
        answer.await.of_delivery(0)
    }
}

#[async_trait]
impl Receiver for ForeignReceiver {
    async fn start(&mut self, cx: ReceiverContext) -> Result<(), DeliveryError> {
        let Some(start) = self.instance.loaded().functions().start else { return Ok(()) };
        let started = self.started.insert(Started::new(&self.instance, &cx));
        let lent = Arc::new(LentStart::new(cx.name(), started.number()));
        let answer = self.instance.call("start", lent, move |instance, lent, call| {
            // SAFETY: a function of a library that is never unloaded; the lent data is kept until the call is
            // completed.
            unsafe { start(instance, &raw const lent.view, call) }
        });
        answer.await.of_delivery(0)
    }

    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        let received = self.instance.loaded().functions().metrics_received;
        let received = received.expect("a receiver without `metrics_received` is not loaded");
        let lent = Arc::new(LentBatch::new(batch));
        let answer = self.instance.call("metrics_received", lent, move |instance, lent, call| {
            // SAFETY: a function of a library that is never unloaded; the lent data is kept until the call is
            // completed.
            unsafe { received(instance, &raw const lent.view, call) }
        });
        answer.await.of_delivery(batch.len())
    }

    async fn handle_inactive(&mut self, agents: &[Activity]) -> Result<(), DeliveryError> {
        self.changed("handle_inactive", self.instance.loaded().functions().handle_inactive, agents)
            .await
    }

    async fn handle_active(&mut self, agents: &[Activity]) -> Result<(), DeliveryError> {
        self.changed("handle_active", self.instance.loaded().functions().handle_active, agents)
            .await
    }

    async fn handle_message(&mut self, message: ControlMessage) -> Result<(), DeliveryError> {
        let code = match message {
            ControlMessage::Stopping => abi::POA_STOPPING,
            _ => return Ok(()),
        };
        let Some(told) = self.instance.loaded().functions().handle_message else { return Ok(()) };
        let answer =
            self.instance.call("handle_message", Arc::new(()), move |instance, (), call| {
                // SAFETY: a function of a library that is never unloaded, with its instance.
                unsafe { told(instance, code, call) }
            });
        answer.await.of_delivery(0)
    }

    async fn terminate(&mut self) {
        let Some(terminate) = self.instance.loaded().functions().terminate else { return };
        let answer = self.instance.call("terminate", Arc::new(()), move |instance, (), call| {
            // SAFETY: a function of a library that is never unloaded, with its instance.
            unsafe { terminate(instance, call) }
        });
        if let Err(error) = answer.await.of_delivery(0) {
            tracing::warn!(
                kind = self.instance.loaded().kind(),
                "could not terminate in an orderly way: {error}"
            );
        }
    }

    fn endpoints(&self) -> Vec<String> {
        endpoints(&self.instance)
    }
}
