//! A table that is too busy, for a while or for long.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{Subject, config, permanent, transient};
use crate::proxy::{Action, Call, Proxy};

const BUSY: Action = Action::Refuse(
    "ProvisionedThroughputExceededException",
    "The level of configured provisioned throughput for the table was exceeded.",
);

/// A receiver whose writes go this way; looking at the table always works.
async fn subject(plan: impl Fn(&Call) -> Action + Send + Sync + 'static) -> (Subject, Proxy) {
    impatient(Duration::from_secs(60), plan).await
}

async fn impatient(
    patience: Duration,
    plan: impl Fn(&Call) -> Action + Send + Sync + 'static,
) -> (Subject, Proxy) {
    let plan = move |call: &Call| if call.writes() { plan(call) } else { Action::Forward };
    let proxy = Proxy::start(plan).await;
    (Subject::with(config(&proxy.url).request_timeout(patience)).await, proxy)
}

#[tokio::test]
async fn throttled_requests_are_repeated() {
    for code in
        ["ProvisionedThroughputExceededException", "RequestLimitExceeded", "ThrottlingException"]
    {
        let (mut subject, _proxy) = subject(move |call| {
            if call.count % 3 == 0 { Action::Forward } else { Action::Refuse(code, "slow down") }
        })
        .await;
        let batch = subject.blocks(260);
        subject.store(&batch).await;
        subject.assert_stored(&batch).await;
        assert!(subject.counter("throttled_requests") >= 11, "{code}");
    }
}

#[tokio::test]
async fn unprocessed_items_are_repeated_and_no_others() {
    let written = Arc::new(AtomicUsize::new(0));
    let count = written.clone();
    let (mut subject, _proxy) = subject(move |call| {
        let taken = call.items().min(7);
        count.fetch_add(taken, Ordering::SeqCst);
        Action::Part(taken)
    })
    .await;
    let batch = subject.blocks(120);
    subject.store(&batch).await;
    subject.assert_stored(&batch).await;
    assert_eq!(written.load(Ordering::SeqCst), 120);
}

/// The core repeats the whole batch; so the receiver remembers what is stored, or a busy table would never get to the end.
#[tokio::test]
async fn a_batch_that_takes_longer_than_the_patience_goes_on_where_it_was() {
    let written = Arc::new(AtomicUsize::new(0));
    let count = written.clone();
    let (mut subject, _proxy) = impatient(Duration::from_millis(400), move |_| {
        // Each request gets three items through, then the table is busy for a while.
        match count.fetch_add(1, Ordering::SeqCst) % 8 {
            0..4 => Action::Part(3),
            _ => BUSY,
        }
    })
    .await;
    let mut batch = subject.blocks(149);
    batch.push(subject.block(r#"{"number":1e999}"#));
    batch.push(subject.samples.json("a1", "ethereum_metrics", r#"{"type":"statistics"}"#));
    let (mut put_off, mut attempts) = (0, 0);
    while let Err(error) = subject.try_store(&batch).await {
        let text = transient(Err(error));
        // On a busy machine a request may as well not be answered in time.
        put_off += usize::from(text.contains("throttles table `poa-test"));
        attempts += 1;
        assert!(attempts < 200, "there is no end to it: {text}");
    }
    assert!(put_off > 0, "it was never put off");
    subject.assert_stored(&batch[..150]).await;
    // What is counted is what is confirmed, and not what is tried.
    assert_eq!(subject.counter("passed_over_messages"), 1);
    assert_eq!(subject.counter("kept_as_text_messages"), 1);
}

#[tokio::test]
async fn throttling_for_good_is_transient_and_says_what_dynamodb_said() {
    let (mut subject, _proxy) = impatient(Duration::from_secs(2), |_| BUSY).await;
    let batch = subject.blocks(3);
    let text = transient(subject.try_store(&batch).await);
    assert!(text.contains("ProvisionedThroughputExceededException: The level of"), "{text}");
    assert!(text.contains("raise the capacity"), "{text}");
}

#[tokio::test]
async fn an_item_that_dynamodb_refuses_is_found_among_many() {
    let (mut subject, _proxy) = subject(|call| {
        let poison = call.body.to_string().contains("poison");
        if poison { Action::Refuse("ValidationException", "no poison") } else { Action::Forward }
    })
    .await;
    let mut batch = subject.blocks(40);
    batch.push(subject.block(r#"{"extraData":"poison"}"#));
    batch.extend(subject.blocks(40));
    let (items, why) = permanent(subject.try_store(&batch).await);
    assert_eq!(items, [40]);
    let id = batch[40].id();
    assert_eq!(
        why,
        format!("DynamoDB refuses the item of message {id}: ValidationException: no poison")
    );
    batch.remove(40);
    subject.assert_stored(&batch).await;
    subject.store(&batch).await;
}

#[tokio::test]
async fn a_batch_goes_in_requests_of_25_items() {
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let seen = sizes.clone();
    let (mut subject, _proxy) = subject(move |call| {
        seen.lock().unwrap().push(call.items());
        Action::Forward
    })
    .await;
    let batch = subject.blocks(510);
    subject.store(&batch).await;
    let mut sizes = std::mem::take(&mut *sizes.lock().unwrap());
    sizes.sort_unstable();
    assert_eq!(sizes, [vec![10], vec![25; 20]].concat());
}
