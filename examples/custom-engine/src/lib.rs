//! An engine for poa hosts that accepts so many messages in a period, and keeps them in the log.
//!
//! An engine consists of a configuration, [`Plugin`] to build it, and [`Engine`] to run it. This one adds a rule to an engine that exists,
//! which is the shortest way to an engine of one's own: every call that the rule does not concern goes to the log. A program adds it
//! to a registry, and then `[bus] engine = "quota"` works in its configuration file:
//!
//! ```
//! let registry = poa_core::Registry::new().engine::<custom_engine::Quota>("quota");
//! assert!(registry.engines().contains_key("quota"));
//! ```

use std::sync::{Arc, Mutex, PoisonError};

use poa_core::config::{Duration, Problem};
use poa_core::engine::{
    Capabilities, Drafts, Engine, Leftover, Receipt, Refused, SendError, Subscription,
    SubscriptionRequest,
};
use poa_core::{Activity, BuildContext, BuildError, Plugin, async_trait};
use poa_engine_local::{Log, LogConfig};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::Instant;

/// The section `[bus.quota]`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QuotaConfig {
    /// The most messages in a period.
    #[schemars(range(min = 1))]
    pub messages: u64,
    /// The length of a period.
    pub period: Duration,
    /// The log that keeps the messages.
    #[serde(default)]
    pub log: LogConfig,
}

/// The engine `quota`: the engine `log`, which refuses messages above a quota until the next period.
#[derive(Debug)]
pub struct Quota {
    log: Log,
    config: QuotaConfig,
    period: Mutex<Period>,
}

/// The messages accepted in this period.
#[derive(Debug)]
struct Period {
    began: Instant,
    messages: u64,
}

#[async_trait]
impl Plugin for Quota {
    type Config = QuotaConfig;

    fn validate(config: &QuotaConfig) -> Vec<Problem> {
        let mut problems = <Log as Plugin>::validate(&config.log);
        if config.messages == 0 {
            problems.push(Problem::new("messages", "must be greater than zero"));
        }
        if config.period.get().is_zero() {
            problems.push(Problem::new("period", "must be greater than zero"));
        }
        problems
    }

    async fn build(config: QuotaConfig, cx: &BuildContext) -> Result<Self, BuildError> {
        let log = Log::build(config.log, cx).await?;
        let period = Mutex::new(Period { began: Instant::now(), messages: 0 });
        Ok(Self { log, config, period })
    }
}

impl Quota {
    /// Takes so much of the quota, or none of it.
    fn take(&self, messages: u64) -> Result<(), Refused> {
        let mut period = self.period.lock().unwrap_or_else(PoisonError::into_inner);
        if period.began.elapsed() >= self.config.period.get() {
            *period = Period { began: Instant::now(), messages: 0 };
        }
        if period.messages + messages > self.config.messages {
            let QuotaConfig { messages, period, .. } = &self.config;
            let used_up = format!("the quota of {messages} messages in {period} is used up");
            return Err(Refused::Unavailable(used_up.into()));
        }
        period.messages += messages;
        Ok(())
    }

    /// Gives back the part of the quota that was not used after all.
    fn give_back(&self, messages: u64) {
        let mut period = self.period.lock().unwrap_or_else(PoisonError::into_inner);
        period.messages = period.messages.saturating_sub(messages);
    }
}

#[async_trait]
impl Engine for Quota {
    fn capabilities(&self) -> Capabilities {
        self.log.capabilities()
    }

    async fn subscribe(
        &self,
        request: SubscriptionRequest,
    ) -> Result<Arc<dyn Subscription>, BuildError> {
        self.log.subscribe(request).await
    }

    async fn unsubscribe(&self, name: &str) -> Result<(), BuildError> {
        self.log.unsubscribe(name).await
    }

    async fn start(&self) -> Result<(), BuildError> {
        self.log.start().await
    }

    fn publish(&self, messages: Drafts) -> Result<Receipt, SendError> {
        let count = messages.as_slice().len() as u64;
        // A closed engine refuses with `Stopping`, whatever is left of the quota.
        if self.is_open()
            && let Err(reason) = self.take(count)
        {
            return Err(SendError::new(reason, messages));
        }
        self.log.publish(messages).inspect_err(|_| self.give_back(count))
    }

    fn publish_activity(&self, change: Activity) {
        self.log.publish_activity(change);
    }

    async fn room(&self) {
        self.log.room().await;
    }

    fn is_open(&self) -> bool {
        self.log.is_open()
    }

    fn close(&self) {
        self.log.close();
    }

    async fn finish(&self) -> Leftover {
        self.log.finish().await
    }

    fn status(&self) -> serde_json::Value {
        self.log.status()
    }

    fn refresh_metrics(&self) {
        self.log.refresh_metrics();
    }
}
