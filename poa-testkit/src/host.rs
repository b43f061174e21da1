//! A host for a test.

use std::path::Path;
use std::time::Duration;

use poa_core::status::PluginStatus;
use poa_core::{
    Ack, AgentId, Draft, Host, HostBuilder, HostHandle, Payload, ReceiptError, ReceiverFactory,
    ReceiverOptions, StopReport,
};
use serde::Serialize;
use tempfile::TempDir;

use crate::samples;

/// The data types that every test host accepts.
pub const METRICS: [&str; 3] = ["ethereum_metrics", "networking_metrics", "system_metrics"];

/// The name of the receiver of [`TestHost::with_receiver`].
const SUBJECT: &str = "subject";

/// A running host with its own data directory, which is removed at the end.
#[derive(Debug)]
pub struct TestHost {
    host: Host,
    data_dir: TempDir,
}

impl TestHost {
    /// Starts a host with the additions of the closure.
    ///
    /// It accepts [`METRICS`], acknowledges a message once every receiver has confirmed it (`Ack::Delivered`), and
    /// stops within 10 s.
    ///
    /// # Panics
    /// When the host does not start.
    pub async fn start(describe: impl FnOnce(HostBuilder) -> HostBuilder) -> Self {
        Self::start_with(METRICS, describe).await
    }

    /// The same with other data types.
    ///
    /// # Panics
    /// When the host does not start.
    pub async fn start_with<N: Into<String>>(
        data_types: impl IntoIterator<Item = N>,
        describe: impl FnOnce(HostBuilder) -> HostBuilder,
    ) -> Self {
        let data_dir = TempDir::with_prefix("poa-testkit-").expect("a temporary directory");
        let limit = Duration::from_secs(5);
        let builder = Host::builder()
            .engine::<poa_engine_local::Memory>("memory", Default::default())
            .data_dir(data_dir.path())
            .data_types(data_types)
            .ack(Ack::Delivered)
            .stop_timeouts(limit, limit);
        let host = describe(builder).start().await;
        Self {
            host: host.unwrap_or_else(|error| panic!("the host does not start: {error:?}")),
            data_dir,
        }
    }

    /// Starts a host with one receiver, named `subject`, which gets each message without delay.
    ///
    /// # Panics
    /// When the host does not start.
    pub async fn with_receiver(factory: ReceiverFactory) -> Self {
        let options = Self::options();
        Self::start(|host| host.receiver_from(SUBJECT, options, factory)).await
    }

    /// Options of a receiver that subscribes to [`METRICS`] and does not linger.
    #[must_use]
    pub fn options() -> ReceiverOptions {
        ReceiverOptions::subscribe(METRICS).batch(1000, Duration::ZERO)
    }

    /// A draft of this agent.
    ///
    /// # Panics
    /// When the agent, the data type or the data are not valid.
    #[must_use]
    pub fn draft(&self, agent: &str, data_type: &str, data: &impl Serialize) -> Draft {
        let payload = Payload::json(data).unwrap_or_else(|error| panic!("{error}"));
        self.draft_of(agent, data_type, payload)
    }

    /// A draft of this agent with this payload.
    ///
    /// # Panics
    /// When the agent or the data type are not valid.
    #[must_use]
    pub fn draft_of(&self, agent: &str, data_type: &str, payload: Payload) -> Draft {
        samples::draft(self.handle().data_types(), agent, data_type, payload)
    }

    /// Sends a message and waits until every receiver has confirmed it.
    ///
    /// Cancel safe: the message is sent with the first poll.
    ///
    /// # Errors
    /// When a receiver dead-lettered or skipped the message, or the host stopped.
    ///
    /// # Panics
    /// When the host refuses the message.
    pub async fn deliver(&self, draft: Draft) -> Result<(), ReceiptError> {
        let receipt = self.handle().send_to_receivers(draft);
        receipt.unwrap_or_else(|error| panic!("{error}")).await
    }

    /// Reports to every receiver that this agent is inactive.
    ///
    /// # Panics
    /// When the agent is not valid.
    pub fn publish_inactive(&self, agent: &str) {
        let agent = AgentId::new(agent).unwrap_or_else(|error| panic!("{agent:?}: {error}"));
        self.handle().publish_inactive(&agent);
    }

    /// The state of the plugin of this name.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn status(&self, plugin: &str) -> PluginStatus {
        let found = self.handle().status().plugins.into_iter().find(|known| known.name == plugin);
        found.unwrap_or_else(|| panic!("there is no plugin `{plugin}`"))
    }

    /// The handle of the host, for everything else.
    #[must_use]
    pub fn handle(&self) -> HostHandle {
        self.host.handle()
    }

    /// The data directory.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.data_dir.path()
    }

    /// Stops the host, then removes its data directory.
    pub async fn stop(self) -> StopReport {
        self.host.stop().await
    }
}
