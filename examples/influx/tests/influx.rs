//! The receiver contract, and the answers of InfluxDB.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod support;

use http::StatusCode;
use influx::{Config, InfluxReceiver};
use poa_core::config::Secret;
use poa_core::{BuildContext, DeliveryError, Message, Plugin as _, Receiver as _};
use poa_testkit::{Samples, receiver_contract, receiver_factory};
use serde_json::json;

use support::Server;

#[tokio::test(flavor = "multi_thread")]
async fn honours_the_receiver_contract() {
    let (server, address) = Server::start().await;
    let config = Config::new(format!("{address}/write?db=poa"));
    receiver_contract(receiver_factory::<InfluxReceiver>(config), async || server.ids()).await;
}

async fn receiver(config: Config) -> InfluxReceiver {
    InfluxReceiver::build(config, &BuildContext::detached("influx", ".")).await.unwrap()
}

fn batch() -> [Message; 1] {
    [Samples::default().message("pump-7", "system_metrics", &json!({"cpu_load": 1.5}))]
}

#[tokio::test]
async fn a_write_has_the_token_and_the_precision() {
    let (server, address) = Server::start().await;
    let url = format!("{address}/api/v2/write?org=ops&bucket=poa");
    let config = Config { token: Some(Secret::new("s3cret")), ..Config::new(url) };
    receiver(config).await.metrics_received(&batch()).await.unwrap();
    let (request, authorization) = server.last();
    assert_eq!(request, "POST /api/v2/write?org=ops&bucket=poa&precision=ns");
    assert_eq!(authorization.as_deref(), Some("Token s3cret"));
    let points = server.points();
    assert!(points[0].starts_with("system_metrics,agent=pump-7 message_id="), "{points:?}");
}

#[tokio::test]
async fn refused_points_are_permanent_and_all_else_is_transient() {
    let (server, address) = Server::start().await;
    let mut receiver = receiver(Config::new(format!("{address}/write?db=poa"))).await;
    for (status, permanent) in
        [(400, true), (413, true), (422, true), (401, false), (429, false), (503, false)]
    {
        server.refuse(StatusCode::from_u16(status).unwrap());
        let error = receiver.metrics_received(&batch()).await.unwrap_err();
        assert_eq!(
            matches!(error, DeliveryError::Permanent { .. }),
            permanent,
            "{status}: {error:?}"
        );
    }
    receiver.metrics_received(&batch()).await.unwrap();
    assert_eq!(server.ids().len(), 1);
}

#[tokio::test]
async fn messages_of_one_microsecond_are_all_stored() {
    let (server, address) = Server::start().await;
    let host = poa_testkit::TestHost::with_receiver(receiver_factory::<InfluxReceiver>(
        Config::new(address),
    ))
    .await;
    let drafts =
        (0..500).map(|n| host.draft("pump-7", "system_metrics", &json!({"n": n}))).collect();
    let context = host.handle().context("sender");
    context.send_all_to_receivers(drafts).unwrap().await.unwrap();
    assert!(host.stop().await.is_clean());
    assert_eq!(server.ids().len(), 500);
}

#[test]
fn mistakes_in_the_configuration_are_reported() {
    let config = Config { token: Some(Secret::new("a\nb")), ..Config::new("influx:8086") };
    let problems: Vec<_> =
        InfluxReceiver::validate(&config).iter().map(ToString::to_string).collect();
    assert!(
        problems[0].contains("url: `influx:8086` is not a valid URL; write one such as"),
        "{problems:?}"
    );
    assert!(problems[1].contains("token: contains a character that is not valid"), "{problems:?}");
}
