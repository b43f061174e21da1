//! Hosts whose messages are traced.

use std::path::Path;
use std::time::Duration;

use poa_core::telemetry::Telemetry;
use poa_core::{AgentId, Draft, Host, HostBuilder, HostHandle, MessageId, Payload};
use poa_engine_local::Memory;
use poa_traces::{Config, Service, Traces};

use crate::collector::Collector;

/// Settings that export everything at once.
pub(crate) fn config(collector: &Collector) -> Config {
    let mut config = Config::default();
    config.endpoint = collector.endpoint();
    config.sample = 1.0;
    config.interval = Duration::from_millis(1).into();
    config
}

/// Traces with these settings.
pub(crate) fn traces(config: &Config, telemetry: &Telemetry) -> Traces {
    Traces::start(config, &Service::new(config, "9.9.9"), telemetry).unwrap()
}

/// A host in memory that accepts `readings`.
pub(crate) fn builder(dir: &Path, telemetry: &Telemetry) -> HostBuilder {
    Host::builder()
        .continuing(telemetry)
        .data_dir(dir)
        .data_types(["readings"])
        .engine::<Memory>("memory", Default::default())
}

pub(crate) fn draft(host: &HostHandle, agent: &str) -> Draft {
    let readings = host.data_types().get("readings").unwrap().clone();
    let payload = Payload::json(&serde_json::json!({"bar": 3.2})).unwrap();
    Draft::new(AgentId::new(agent).unwrap(), readings, payload)
}

/// Sends a message, and returns its id.
pub(crate) async fn send(host: &HostHandle) -> MessageId {
    let receipt = host.send_to_receivers(draft(host, "pump-7")).unwrap();
    let id = receipt.id().unwrap();
    receipt.await.unwrap();
    id
}

/// The value of a counter in the exposition of a host.
pub(crate) fn counter(telemetry: &Telemetry, name: &str) -> u64 {
    let text = telemetry.encode();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("{name} in {text}")).trim().parse().unwrap()
}
