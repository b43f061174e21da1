//! Connections that break, behind a real host.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use poa_core::ReceiverOptions;
use poa_core::status::PluginStatus;
use poa_receiver_dynamo::{Config, DynamoDb};
use poa_testkit::{TestHost, receiver_factory};
use serde_json::json;

use crate::common::{PATIENCE, Subject, client, config, ids, shared, transient};
use crate::proxy::{Action, Proxy};

#[tokio::test]
async fn an_answer_that_gets_lost_leaves_each_item_once() {
    let proxy = Proxy::start(|call| {
        if call.writes() && call.count < 12 { Action::LoseAnswer } else { Action::Forward }
    })
    .await;
    let mut subject = Subject::with(config(&proxy.url)).await;
    let batch = subject.blocks(40);
    let mut lost = 0;
    while let Err(error) = subject.try_store(&batch).await {
        let text = transient(Err(error));
        assert!(text.starts_with("cannot reach DynamoDB in http://127.0.0.1"), "{text}");
        lost += 1;
        assert!(lost <= 12, "there is no end to it");
    }
    assert!(lost > 0, "no answer was lost");
    subject.assert_stored(&batch).await;
}

/// Everything at once: answers lost, requests throttled, parts unprocessed, while a host delivers.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_loses_and_doubles_nothing_on_a_bad_day() {
    let proxy = Proxy::start(|call| match call.count % 7 {
        _ if !call.writes() => Action::Forward,
        1 => Action::LoseAnswer,
        2 => Action::Refuse("InternalServerError", "an internal error"),
        3 => Action::Refuse("RequestLimitExceeded", "too many"),
        4 => Action::Part(5),
        _ => Action::Forward,
    })
    .await;
    let config = config(&proxy.url);
    let (status, stored) = through_a_host(config, options().batch(60, Duration::ZERO), 600).await;
    assert!(status.delivery.unwrap().retried > 0, "{status:?}");
    assert_once(stored, 600);
}

/// Refused for many times as long as the receiver repeats what is throttled.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_loses_and_doubles_nothing_while_the_table_is_busy_for_long() {
    let refused = AtomicUsize::new(0);
    let proxy = Proxy::start(move |call| {
        if call.writes() && refused.fetch_add(1, Ordering::SeqCst) < 150 {
            Action::Refuse("ProvisionedThroughputExceededException", "slow down")
        } else {
            Action::Forward
        }
    })
    .await;
    let config = config(&proxy.url).request_timeout(Duration::from_millis(500));
    let (status, stored) = through_a_host(config, options(), 300).await;
    let error = status.last_error.as_deref().unwrap();
    assert!(error.contains("ProvisionedThroughputExceededException: slow down"), "{status:?}");
    let delivery = status.delivery.unwrap();
    assert!(delivery.retried > 1, "{delivery:?}");
    assert_eq!((delivery.delivered, delivery.dead_lettered, delivery.skipped), (300, 0, 0));
    assert_once(stored, 300);
}

/// The batch takes longer than the host waits: if the receiver did not give it back before that, it would begin again each time.
///
/// Each request is much shorter than the receiver's patience, so that a machine that is busy with other things does not make it longer.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_slow_gets_to_the_end_of_a_large_batch() {
    const BLOCKS: usize = 5000;
    // In requests of 25 items, 8 at a time, they take 25 times as long as one.
    let slow = Duration::from_millis(450);
    let proxy =
        Proxy::start(move |call| if call.writes() { Action::Delay(slow) } else { Action::Forward })
            .await;
    let options = options().batch(BLOCKS, Duration::from_secs(5)).timeout(Duration::from_secs(10));
    // As `timeout` allows no more, it is two seconds.
    let config = config(&proxy.url).request_timeout(Duration::from_secs(100));
    let (status, stored) = through_a_host(config, options, BLOCKS).await;
    let delivery = status.delivery.as_ref().unwrap();
    // On a machine that is busy, the last reason may be a single request instead.
    let error = status.last_error.as_deref().unwrap();
    assert!(delivery.retried > 0 && error.contains("2s"), "{status:?}");
    assert_eq!((status.restarts, delivery.delivered), (0, BLOCKS as u64), "{status:?}");
    assert_once(stored, BLOCKS);
}

/// A receiver that soon tries again.
fn options() -> ReceiverOptions {
    let mut options = TestHost::options();
    options.retry.max = poa_core::config::Duration::from_millis(200);
    options
}

/// Sends so many blocks through a host, which ends once all are delivered; what it said then, and the ids in the table.
async fn through_a_host(
    config: Config,
    options: ReceiverOptions,
    blocks: usize,
) -> (PluginStatus, Vec<String>) {
    let table = config.table.clone();
    let host = TestHost::start(|host| {
        let factory = receiver_factory::<DynamoDb>(config);
        host.delivered_within(PATIENCE).receiver_from("blocks", options, factory)
    })
    .await;
    let send = |n: usize| {
        let data = json!({"type": "block", "body": {"number": n}});
        host.handle().send_to_receivers(host.draft("a1", "ethereum_metrics", &data)).unwrap()
    };
    let receipts: Vec<_> = (0..blocks).map(send).collect();
    for receipt in receipts {
        receipt.await.unwrap();
    }
    let status = host.status("blocks");
    assert!(host.stop().await.is_clean());
    (status, ids(&client(&shared()).await, &table).await)
}

fn assert_once(mut ids: Vec<String>, count: usize) {
    assert_eq!(ids.len(), count);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
}
