//! The engine `memory`.

use std::sync::Arc;

use poa_core::async_trait;
use poa_core::engine::{
    Capabilities, Drafts, Engine, Leftover, Receipt, SendError, Subscription, SubscriptionRequest,
};
use poa_core::{Activity, BuildContext, BuildError, Plugin};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::local::Local;

/// The engine `memory`: messages are kept in memory, and are lost with the process.
#[derive(Debug)]
pub struct Memory(Arc<Local>);

/// The section `[bus.memory]`, which has no keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct MemoryConfig {}

#[async_trait]
impl Plugin for Memory {
    type Config = MemoryConfig;

    async fn build(_: MemoryConfig, cx: &BuildContext) -> Result<Self, BuildError> {
        Ok(Self(Local::in_memory(cx)))
    }
}

#[async_trait]
impl Engine for Memory {
    fn capabilities(&self) -> Capabilities {
        Capabilities::VOLATILE
    }

    async fn subscribe(
        &self,
        request: SubscriptionRequest,
    ) -> Result<Arc<dyn Subscription>, BuildError> {
        let backlog = request.backlog.resolved(None);
        Ok(Arc::new(self.0.subscribe(&request, backlog, None)))
    }

    async fn unsubscribe(&self, name: &str) -> Result<(), BuildError> {
        let garbage = self.0.state.lock().unsubscribe(name);
        drop(garbage);
        Ok(())
    }

    async fn start(&self) -> Result<(), BuildError> {
        self.0.open();
        Ok(())
    }

    fn publish(&self, messages: Drafts) -> Result<Receipt, SendError> {
        self.0.publish(messages)
    }

    fn publish_activity(&self, change: Activity) {
        self.0.publish_activity(change);
    }

    async fn room(&self) {
        self.0.room().await;
    }

    fn is_open(&self) -> bool {
        self.0.is_open()
    }

    fn close(&self) {
        self.0.close();
    }

    async fn finish(&self) -> Leftover {
        self.0.finish();
        Leftover::default()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.0.close();
        self.0.finish();
    }
}
