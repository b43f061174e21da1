//! Calls that are dropped at any of their awaits.

use poa_core::engine::SubscriptionCounts;
use poa_core::{Ack, ReceiverOptions};

use super::got::Got;
use super::space::{AGENTS, Space, TYPES, batches_of, soon};
use crate::cut::polled;

/// The most awaits at which a call is dropped; it ends long before.
const CUTS: usize = 60;

/// A call for a batch that is dropped has handed out nothing.
pub(super) async fn lose_no_batch(space: &Space) {
    let what = "calls for a batch that were dropped";
    let node = space.build(Ack::Memory).await;
    let subscription = node.subscribe("subject").await;
    node.start().await;
    let mut got = Got::default();
    for number in 0..CUTS as u64 {
        let agent = AGENTS[number as usize % AGENTS.len()];
        // The receipt is dropped at once: that takes nothing back.
        let sent = node.send(node.draft(agent, number));
        drop(sent.unwrap_or_else(|error| panic!("{what}: refused: {error}")));
        let polls = number as usize % 8 + 1;
        let limits = batches_of(3);
        let call = polled(polls, subscription.next_batch(&limits));
        if let Some(batch) = soon(what, call).await {
            got.add(what, batch.unwrap_or_else(|| panic!("{what}: the subscription has ended")));
            subscription.confirm(&[]);
        }
        soon(what, polled(1, node.engine.room())).await;
    }
    let rest = node.drain(what, &*subscription).await;
    got.messages.extend(rest.messages);
    got.assert_is(what, 0..CUTS as u64);
    node.end().await;
}

/// A call that subscribes or removes may be dropped, and made again.
pub(super) async fn leave_a_subscription_whole(space: &Space) {
    let what = "a subscription whose call was dropped and made again";
    let node = space.build(Ack::Memory).await;
    let _other = node.subscribe("other").await;
    node.start().await;
    let options = ReceiverOptions::subscribe(TYPES);
    let request = || node.request("subject", &TYPES, &options, SubscriptionCounts::default());
    let mut subscription = None;
    for polls in 1..CUTS {
        subscription = soon(what, polled(polls, node.engine.subscribe(request()))).await;
        if subscription.is_some() {
            break;
        }
        soon(what, polled(polls, node.engine.unsubscribe("subject"))).await;
    }
    let subscription = match subscription {
        Some(subscribed) => subscribed.unwrap_or_else(|error| panic!("{what}: {error:?}")),
        None => node.subscribe("subject").await,
    };
    node.send_numbers(what, 0..10).await;
    node.drain(what, &*subscription).await.assert_is(what, 0..10);
    node.end().await;
}

/// The call that finishes the engine is dropped: as in a crash, what was stored is kept.
pub(super) async fn lose_nothing_stored(space: &Space) {
    if !space.capabilities().await.durable {
        return;
    }
    let what = "a finish that was dropped";
    let mut sent = 0;
    for polls in 1..4 {
        let node = space.build_after_a_crash(Ack::Stored).await;
        let _subscription = node.subscribe("subject").await;
        node.start().await;
        node.send_numbers(what, sent..sent + 5).await;
        sent += 5;
        node.engine.close();
        soon(what, polled(polls, node.engine.finish())).await;
    }
    let node = space.build_after_a_crash(Ack::Stored).await;
    let subscription = node.subscribe("subject").await;
    node.start().await;
    node.drain(what, &*subscription).await.assert_is(what, 0..sent);
    node.end().await;
}
