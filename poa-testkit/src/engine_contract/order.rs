//! The events of a subscription, and their order.

use poa_core::engine::SubscriptionCounts;
use poa_core::{Ack, Activity, AgentId, ReceiverOptions, Timestamp};

use super::got::{next, numbers};
use super::space::{AGENTS, Space, TYPES, batches_of, until};

/// Single messages and batches of several, of two types, with a change of activity between them.
pub(super) async fn hands_out_what_was_subscribed(space: &Space) {
    let what = "messages of two types for two subscriptions";
    let node = space.build(Ack::Memory).await;
    let both = node.subscribe("both").await;
    let (options, counts) = (ReceiverOptions::subscribe(["alpha"]), SubscriptionCounts::default());
    let alpha = node.subscribe_counted("alpha", &TYPES[..1], &options, counts).await;
    node.start().await;
    node.send_numbers(what, 0..40).await;
    let agent = AgentId::new(AGENTS[1]).expect("a valid id");
    let change = Activity::new(agent, true, Timestamp::now());
    node.engine.publish_activity(change.clone());
    for first in (40..100).step_by(4) {
        let agent = AGENTS[first as usize / 4 % AGENTS.len()];
        let batch: Vec<_> = (first..first + 4).map(|number| node.draft(agent, number)).collect();
        let ids = node.accepted(what, batch).await;
        assert_eq!(ids.as_slice().len(), 4, "{what}: a receipt has an id for each message");
    }
    let got = node.drain(what, &*both).await;
    got.assert_is(what, 0..100);
    assert_eq!(got.changes, std::slice::from_ref(&change), "{what}: changes of activity go to all");
    let some = super::got::Got::up_to_marks(what, &*alpha).await;
    some.assert_is(what, (0..100).step_by(2));
    assert_eq!(some.changes, [change], "{what}: changes of activity go to all");
    until("a confirmed backlog is empty", || both.level().events == 0).await;
    node.end().await;
}

pub(super) async fn hands_out_again_what_was_given_back(space: &Space) {
    let what = "a batch that was given back";
    let node = space.build(Ack::Memory).await;
    let subscription = node.subscribe("subject").await;
    node.start().await;
    let agent = AGENTS[0];
    for number in 0..10 {
        node.accepted(what, node.draft(agent, number)).await;
    }
    let first = next(what, &*subscription, &batches_of(4)).await;
    subscription.give_back();
    let mut again = Vec::new();
    while again.len() < first.len() {
        again.extend(numbers(&next(what, &*subscription, &batches_of(3)).await));
        let level = subscription.level().events;
        assert!(level > 0, "{what}: what is in flight counts as waiting");
        subscription.confirm(&[]);
    }
    let sent: Vec<u64> = (0..again.len() as u64).collect();
    assert_eq!(again, sent, "{what}: it has to be handed out again, before all others");
    let rest = node.drain(what, &*subscription).await;
    rest.assert_is(what, again.len() as u64..10);
    node.end().await;
}

/// A receiver whose configuration changes subscribes again: the cursor stays.
pub(super) async fn is_taken_over(space: &Space) {
    let what = "a second subscription of the same name";
    let node = space.build(Ack::Memory).await;
    let earlier = node.subscribe("subject").await;
    node.start().await;
    node.send_numbers(what, 0..20).await;
    let mut confirmed = numbers(&next(what, &*earlier, &batches_of(5)).await);
    earlier.confirm(&[]);
    next(what, &*earlier, &batches_of(5)).await;
    let later = node.subscribe("subject").await;
    let ended = super::space::soon(what, earlier.next_batch(&batches_of(5))).await;
    assert!(ended.is_none(), "{what}: the earlier one has to end");
    // It may not know yet that another handle has taken over.
    earlier.confirm(&[]);
    let got = node.drain(what, &*later).await;
    got.assert_ordered(what);
    confirmed.extend(got.numbers());
    confirmed.sort_unstable();
    assert_eq!(
        confirmed,
        (0..20).collect::<Vec<_>>(),
        "{what}: events in flight are handed out again"
    );
    node.end().await;
}
