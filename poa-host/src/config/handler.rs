//! The keys common to all handlers.

use std::time;

use poa_core::config::Duration;
use poa_core::{
    BuildContext, CustomHandler, HandlerContext, HandlerFactory, PluginError, async_trait,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// The options common to all handlers.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HandlerOptions {
    /// How long an agent of this handler may be silent before it counts as inactive, if not as long as `inactive_after` at the top level
    /// says. If several handlers hear an agent, the longest time counts.
    #[serde(default)]
    inactive_after: Option<Duration>,
}

impl HandlerOptions {
    /// Builds the same handlers with these options.
    pub(crate) fn apply(&self, factory: HandlerFactory) -> HandlerFactory {
        let Some(inactive_after) = self.inactive_after else { return factory };
        let inactive_after = inactive_after.get();
        std::sync::Arc::new(move |cx: &BuildContext| {
            let building = factory(cx);
            Box::pin(async move {
                let handler = building.await?;
                Ok(Box::new(Timed { handler, inactive_after }) as Box<dyn CustomHandler>)
            })
        })
    }
}

/// A handler whose agents have the timeout that the operator chose.
struct Timed {
    handler: Box<dyn CustomHandler>,
    inactive_after: time::Duration,
}

#[async_trait]
impl CustomHandler for Timed {
    async fn run(&mut self, cx: HandlerContext) -> Result<(), PluginError> {
        self.handler.run(cx).await
    }

    fn endpoints(&self) -> Vec<String> {
        self.handler.endpoints()
    }

    fn inactive_after(&self) -> Option<time::Duration> {
        Some(self.inactive_after)
    }
}
