//! Connections that break, behind a real host.

use poa_receiver_dynamo::DynamoDb;
use poa_testkit::{TestHost, factory};
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
    let table = config.table.clone();
    let host = TestHost::start(|host| {
        let mut options = TestHost::options().batch(60, std::time::Duration::ZERO);
        options.retry.max = poa_core::config::Duration::from_millis(200);
        host.delivered_within(PATIENCE).receiver_from(
            "blocks",
            options,
            factory::<DynamoDb>(config),
        )
    })
    .await;
    let send = |n: usize| {
        let data = json!({"type": "block", "body": {"number": n}});
        host.handle().send_to_receivers(host.draft("a1", "ethereum_metrics", &data)).unwrap()
    };
    let receipts: Vec<_> = (0..600).map(send).collect();
    for receipt in receipts {
        receipt.await.unwrap();
    }
    let status = host.status("blocks");
    assert!(status.delivery.unwrap().retried > 0, "{status:?}");
    assert!(host.stop().await.is_clean());
    let mut ids = ids(&client(&shared()).await, &table).await;
    assert_eq!(ids.len(), 600);
    ids.dedup();
    assert_eq!(ids.len(), 600);
}
