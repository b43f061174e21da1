//! Restarts of engines whose messages survive the process.

use poa_core::{Ack, ReceiverOptions};

use super::got::{Got, next, numbers};
use super::space::{Space, TYPES, batches_of};

/// Confirmed messages are not handed out again. All others are, those in flight included.
pub(super) async fn outlive_an_orderly_end(space: &Space) {
    if !space.capabilities().await.durable {
        return;
    }
    let what = "a restart";
    let node = space.build(Ack::Stored).await;
    let subscription = node.subscribe("subject").await;
    node.start().await;
    node.send_numbers(what, 0..20).await;
    let mut confirmed = numbers(&next(what, &*subscription, &batches_of(6)).await);
    subscription.confirm(&[]);
    next(what, &*subscription, &batches_of(6)).await;
    subscription.abandon();
    drop(subscription);
    node.end().await;

    let node = space.build(Ack::Stored).await;
    let subscription = node.subscribe("subject").await;
    node.start().await;
    node.send_numbers(what, 20..30).await;
    let got = node.drain(what, &*subscription).await;
    got.assert_ordered(what);
    confirmed.extend(got.numbers());
    confirmed.sort_unstable();
    assert_eq!(confirmed, (0..30).collect::<Vec<_>>(), "{what}: each message comes once");
    node.end().await;
}

/// Dropped without any of the calls of an orderly end. Confirmed events may be handed out again.
pub(super) async fn outlive_a_crash(space: &Space) {
    if !space.capabilities().await.durable {
        return;
    }
    let what = "an engine that was dropped";
    let node = space.build(Ack::Stored).await;
    let subscription = node.subscribe("subject").await;
    node.start().await;
    node.send_numbers(what, 0..20).await;
    let confirmed = numbers(&next(what, &*subscription, &batches_of(6)).await);
    subscription.confirm(&[]);
    next(what, &*subscription, &batches_of(6)).await;
    drop((subscription, node));

    let node = space.build_after_a_crash(Ack::Stored).await;
    let subscription = node.subscribe("subject").await;
    node.start().await;
    let got = node.drain(what, &*subscription).await;
    got.assert_ordered(what);
    let numbers = got.numbers();
    let lost: Vec<u64> =
        (0..20).filter(|n| !confirmed.contains(n) && !numbers.contains(n)).collect();
    assert!(lost.is_empty(), "{what}: {lost:?} were stored and are lost");
    node.end().await;
}

/// A new subscription starts at the end, or at the oldest event that is kept; a removed one is new
/// again.
pub(super) async fn begin_where_they_are_asked_to(space: &Space) {
    if !space.capabilities().await.durable {
        return;
    }
    let what = "a new subscription";
    let node = space.build(Ack::Stored).await;
    // It confirms nothing, so that everything is kept.
    let _keeping = node.subscribe("keeping").await;
    node.start().await;
    node.send_numbers(what, 0..10).await;
    let from_now = node.subscribe("from now").await;
    let all = ReceiverOptions::subscribe(TYPES).from_start();
    let from_start = node.subscribe_as("from start", &all).await;
    node.send_numbers(what, 10..15).await;
    node.send_marks().await;
    Got::up_to_marks(what, &*from_now).await.assert_is(what, 10..15);
    Got::up_to_marks(what, &*from_start).await.assert_is(what, 0..15);
    let removed = node.engine.unsubscribe("from now").await;
    removed.unwrap_or_else(|error| panic!("{what}: cannot be removed: {error:?}"));
    let again = ReceiverOptions::subscribe(TYPES).from_start();
    let again = node.subscribe_as("from now", &again).await;
    let got = Got::up_to_marks("a subscription that was removed", &*again).await;
    got.assert_is("a subscription that was removed", 0..15);
    node.end().await;
}
