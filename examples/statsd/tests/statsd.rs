//! Datagrams in, messages out.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use poa_core::config;
use poa_testkit::{HandlerContract, Recording, TestHost, handler_factory};
use serde_json::{Value, json};
use statsd::{Config, Statsd};
use tokio::net::UdpSocket;

fn settings(flush: config::Duration) -> Config {
    Config {
        listen: ([127, 0, 0, 1], 0).into(),
        data_type: "system_metrics".into(),
        flush_interval: flush,
    }
}

async fn start(recording: &Recording, flush: config::Duration) -> TestHost {
    TestHost::start(|host| {
        host.handler::<Statsd>("statsd", settings(flush)).receiver_from(
            "seen",
            TestHost::options(),
            recording.factory(),
        )
    })
    .await
}

async fn client(host: &TestHost) -> UdpSocket {
    let endpoint = host.status("statsd").endpoints.remove(0);
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(endpoint.trim_start_matches("udp://")).await.unwrap();
    socket
}

#[tokio::test]
async fn honours_the_handler_contract() {
    let factory = handler_factory::<Statsd>(settings(config::Duration::from_millis(20)));
    let client = async |endpoints: &[String]| send_one(endpoints).await.is_some();
    HandlerContract::new(factory, client).data_types(["system_metrics"]).one_way().check().await;
}

/// Sends one sample, if the handler is there.
async fn send_one(endpoints: &[String]) -> Option<usize> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.ok()?;
    socket.connect(endpoints.first()?.trim_start_matches("udp://")).await.ok()?;
    socket.send(b"hits:1|c").await.ok()
}

#[tokio::test]
async fn samples_become_one_message_of_their_sender() {
    let recording = Recording::new();
    let host = start(&recording, config::Duration::from_millis(50)).await;
    client(&host).await.send(b"hits:1|c\nhits:2|c\nload:1.5|g\nnonsense\n").await.unwrap();
    let message = recording.messages(1).await.remove(0);
    assert_eq!(message.agent_id().as_str(), "127.0.0.1");
    let data: Value = message.payload().read().unwrap();
    assert_eq!(data["counters"], json!({"hits": 3.0}));
    assert_eq!(data["gauges"], json!({"load": 1.5}));
    assert!(
        host.handle().metrics().contains("poa_statsd_invalid_lines_total{handler=\"statsd\"} 1")
    );
    assert!(host.stop().await.is_clean());
}

#[tokio::test]
async fn a_stop_sends_the_last_samples() {
    let recording = Recording::new();
    let host = start(&recording, config::Duration::from_secs(3600)).await;
    client(&host).await.send(b"hits:7|c").await.unwrap();
    assert!(host.stop().await.is_clean());
    let data: Value = recording.messages(1).await[0].payload().read().unwrap();
    assert_eq!(data["counters"], json!({"hits": 7.0}));
}

#[tokio::test]
async fn a_data_type_that_is_not_declared_is_refused() {
    let config = Config { data_type: "weather".into(), ..settings(config::Duration::from_secs(1)) };
    let started = poa_core::Host::builder()
        .engine::<poa_engine_local::Memory>("memory", Default::default())
        .data_types(["system_metrics"])
        .handler::<Statsd>("statsd", config)
        .start()
        .await;
    let error = poa_core_error(started.map(drop).unwrap_err());
    assert!(error.contains("data type `weather` is not declared; add it to `metrics`"), "{error}");
}

/// An error with its causes.
fn poa_core_error(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
