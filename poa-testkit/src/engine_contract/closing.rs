//! A close during other calls.

use std::sync::Arc;

use poa_core::Ack;
use poa_core::engine::Subscription;

use super::got::{Got, next, numbers};
use super::space::{AGENTS, Space, batches_of, is_stopping, soon};

/// Messages are being sent, a batch is awaited, one is in flight: the close ends all calls, and no accepted message is lost.
pub(super) async fn ends_everything(space: &Space) {
    let what = "a close in the middle of everything";
    let node = space.build(Ack::Memory).await;
    let reading = node.subscribe("reading").await;
    let waiting = node.subscribe("waiting").await;
    node.start().await;
    node.send_numbers(what, 0..10).await;
    let node = Arc::new(node);
    let sender = tokio::spawn({
        let node = node.clone();
        async move {
            let mut accepted: Vec<u64> = (0..10).collect();
            for number in 10..u64::MAX {
                let agent = AGENTS[number as usize % AGENTS.len()];
                match node.outcome(node.draft(agent, number)).await {
                    Ok(_) => accepted.push(number),
                    refused => {
                        assert!(is_stopping(&refused), "a message during the close: {refused:?}");
                        return accepted;
                    }
                }
                tokio::task::yield_now().await;
            }
            accepted
        }
    });
    let reader = tokio::spawn(read_to_the_end(reading));
    let shedding = tokio::spawn({
        let waiting = waiting.clone();
        async move { waiting.next_shed().await }
    });
    // A batch is in flight while the engine closes, and is given back afterwards.
    next(what, &*waiting, &batches_of(3)).await;
    node.engine.close();
    assert!(!node.engine.is_open(), "{what}: it has to be closed");
    waiting.give_back();
    let late = tokio::spawn(read_to_the_end(waiting));
    let sent = soon(what, sender).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut left = Vec::new();
    for (name, reader) in [("reading", reader), ("waiting", late)] {
        let got = soon(what, reader).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        let missing = sent.iter().filter(|number| !got.contains(number));
        left.push((name, missing.copied().collect::<Vec<u64>>()));
    }
    shedding.abort();
    soon(what, node.engine.room()).await;
    soon("the engine finishes", node.engine.finish()).await;
    drop(node);
    comes_later(space, left).await;
}

/// The rest is handed out after the next start, by an engine whose messages survive the process.
async fn comes_later(space: &Space, left: Vec<(&str, Vec<u64>)>) {
    let what = "accepted before a close in the middle of everything";
    if !space.capabilities().await.durable {
        let lost = left.iter().map(|(_, numbers)| numbers.len()).sum::<usize>();
        assert_eq!(lost, 0, "{what}: messages were never handed out");
        return;
    }
    let node = space.build_after_a_crash(Ack::Memory).await;
    let mut subscriptions = Vec::new();
    for (name, _) in &left {
        subscriptions.push(node.subscribe(name).await);
    }
    node.start().await;
    node.send_marks().await;
    for ((name, numbers), subscription) in left.iter().zip(subscriptions) {
        let got = Got::up_to_marks(what, &*subscription).await.numbers();
        let lost: Vec<_> = numbers.iter().filter(|number| !got.contains(number)).take(9).collect();
        assert!(lost.is_empty(), "{what}: `{name}` never gets {lost:?}");
    }
    node.end().await;
}

/// Reads and confirms until the subscription ends.
async fn read_to_the_end(subscription: Arc<dyn Subscription>) -> Vec<u64> {
    let mut got = Vec::new();
    while let Some(batch) = subscription.next_batch(&batches_of(10)).await {
        got.extend(numbers(&batch));
        subscription.confirm(&[]);
    }
    got
}
