//! The dashboard in a host.

use poa_core::{Plugin as _, ReceiptError};
use poa_receiver_dashboard::Dashboard;
use poa_testkit::{Fault, Faults, TestHost, receiver_factory};
use serde_json::json;

use crate::support::{Subject, address, config, free_port, soon, start};

#[tokio::test(flavor = "multi_thread")]
async fn it_says_where_it_is_and_stops_in_order() {
    let host = TestHost::with_receiver(receiver_factory::<Dashboard>(config())).await;
    host.deliver(host.draft("a", "system_metrics", &json!({"type": "statistics"}))).await.unwrap();
    let endpoints = host.status("subject").endpoints;
    assert!(endpoints[0].starts_with("http://127.0.0.1:"), "{endpoints:?}");
    assert!(host.stop().await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_set_aside_alone() {
    let host = TestHost::with_receiver(receiver_factory::<Dashboard>(config())).await;
    let torn = poa_core::Payload::new(poa_core::Format::Json, r#"{"type":"#.into());
    let good = host.draft("a", "system_metrics", &json!({"type": "statistics"}));
    let (torn, good) =
        tokio::join!(host.deliver(host.draft_of("a", "system_metrics", torn)), host.deliver(good));
    assert_eq!((torn, good), (Err(ReceiptError::NotDelivered), Ok(())));
    assert!(host.stop().await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_instance_listens_where_the_last_one_did() {
    // A port that is known beforehand, so that the second instance has to have the same.
    let port = free_port();
    let config = poa_receiver_dashboard::Config::listen(port).secret("wssecret");
    let faults = Faults::first(2, Fault::Panic);
    let host = TestHost::with_receiver(faults.around(receiver_factory::<Dashboard>(config))).await;
    host.deliver(host.draft("a", "system_metrics", &json!({}))).await.unwrap();
    let status = host.status("subject");
    assert_eq!(status.endpoints, [format!("http://{port}")]);
    assert!(status.restarts >= 1, "{status:?}");
    assert!(host.stop().await.is_clean());
}

#[tokio::test]
async fn clients_are_counted_as_long_as_they_are_connected() {
    let dir = tempfile::tempdir().unwrap();
    let cx = poa_core::BuildContext::detached("dashboard", dir.path());
    let mut receiver = Dashboard::build(config(), &cx).await.unwrap();
    start(&mut receiver, &cx).await;
    let counted = async |count: u32| {
        let line = format!("poa_dashboard_clients{{receiver=\"dashboard\"}} {count}\n");
        while !cx.telemetry().encode().contains(&line) {
            tokio::task::yield_now().await;
        }
    };
    let subject = Subject { address: address(&receiver), receiver, dir };
    let _client = subject.client().await;
    soon("one is counted", counted(1)).await;
    // Not terminated: dropped, as after a panic.
    drop(subject.receiver);
    soon("none is counted", counted(0)).await;
}

#[tokio::test]
async fn a_wrong_configuration_is_not_built() {
    let dir = tempfile::tempdir().unwrap();
    let cx = poa_core::BuildContext::detached("dashboard", dir.path());
    let config = config().secret("short");
    assert!(!Dashboard::validate(&config).is_empty());
    let error = Dashboard::build(config, &cx).await.unwrap_err().to_string();
    assert!(error.starts_with("ws_secret:"), "{error}");
}
