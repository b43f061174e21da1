//! DynamoDB's process is killed while a host delivers, and started again with what it has on disk.

use std::time::{Duration, Instant};

use poa_core::status::Phase;
use poa_core::{Receipt, ReceiverOptions};
use poa_receiver_dynamo::DynamoDb;
use poa_testkit::{TestHost, receiver_factory};
use serde_json::json;

use crate::common::{PATIENCE, client, config, ids};
use crate::local::{Local, Port};

const BLOCKS: usize = 1500;

/// A receiver that soon tries again.
fn options() -> ReceiverOptions {
    let mut options = TestHost::options().batch(200, Duration::ZERO);
    options.retry.max = poa_core::config::Duration::from_millis(300);
    options
}

fn send(host: &TestHost, n: usize) -> Receipt {
    let data = json!({"type": "block", "body": {"number": n}});
    let agent = ["a1", "a2", "a3"][n % 3];
    host.handle().send_to_receivers(host.draft(agent, "ethereum_metrics", &data)).unwrap()
}

/// Waits until the status says what is wrong.
async fn until_retrying(host: &TestHost) -> String {
    let begin = Instant::now();
    loop {
        let status = host.status("blocks");
        if status.phase == Phase::Retrying {
            return status.last_error.unwrap();
        }
        assert!(begin.elapsed() < PATIENCE, "{status:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_under_load_and_restarted_nothing_is_lost_or_doubled() {
    let (port, tables) = (Port::hold(), tempfile::tempdir().unwrap());
    let url = port.url();
    let config = config(&url).request_timeout(Duration::from_secs(20));
    let table = config.table.clone();
    let mut server = Local::start(&port, tables.path()).await;
    let host = TestHost::start(|host| {
        host.delivered_within(PATIENCE).receiver_from(
            "blocks",
            options(),
            receiver_factory::<DynamoDb>(config),
        )
    })
    .await;
    let mut receipts: Vec<Option<Receipt>> = (0..BLOCKS).map(|n| Some(send(&host, n))).collect();
    for confirmed in [BLOCKS / 10, BLOCKS / 2] {
        // The next batches are under way when this one is confirmed.
        receipts[confirmed].take().unwrap().await.unwrap();
        server.kill().await;
        let error = until_retrying(&host).await;
        assert!(error.contains(&format!("cannot reach DynamoDB in {url}")), "{error}");
        server = Local::start(&port, tables.path()).await;
    }
    for receipt in receipts.into_iter().flatten() {
        receipt.await.unwrap();
    }
    let status = host.status("blocks");
    assert_eq!((status.phase, status.restarts), (Phase::Running, 0), "{status:?}");
    let delivery = status.delivery.unwrap();
    assert_eq!((delivery.delivered, delivery.dead_lettered), (BLOCKS as u64, 0));
    assert!(host.stop().await.is_clean());
    let stored = ids(&client(&url).await, &table).await;
    let unique: std::collections::HashSet<_> = stored.iter().collect();
    assert_eq!((stored.len(), unique.len()), (BLOCKS, BLOCKS));
    server.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_starts_without_dynamodb_and_delivers_once_it_is_there() {
    let (port, tables) = (Port::hold(), tempfile::tempdir().unwrap());
    let url = port.url();
    let config = config(&url);
    let table = config.table.clone();
    let host = TestHost::start(|host| {
        host.delivered_within(PATIENCE).receiver_from(
            "blocks",
            options(),
            receiver_factory::<DynamoDb>(config),
        )
    })
    .await;
    let receipts: Vec<_> = (0..50).map(|n| send(&host, n)).collect();
    let error = host.status("blocks").last_error.unwrap();
    assert!(error.contains("cannot reach DynamoDB"), "{error}");
    let server = Local::start(&port, tables.path()).await;
    for receipt in receipts {
        receipt.await.unwrap();
    }
    assert_eq!(ids(&client(&url).await, &table).await.len(), 50);
    assert!(host.stop().await.is_clean());
    server.kill().await;
}

#[tokio::test]
async fn a_host_does_not_start_without_a_dynamodb_that_is_required() {
    let port = Port::hold();
    let data = tempfile::tempdir().unwrap();
    let builder = poa_core::Host::builder()
        .engine::<poa_engine_local::Memory>("memory", Default::default())
        .data_dir(data.path())
        .data_types(["ethereum_metrics"]);
    let options = ReceiverOptions::subscribe(["ethereum_metrics"]).required();
    let started =
        builder.receiver::<DynamoDb>("blocks", options, config(&port.url())).start().await;
    let error = format!("{:?}", started.unwrap_err());
    assert!(error.contains("blocks") && error.contains("cannot reach DynamoDB"), "{error}");
}
