//! The outcome of receipts, and when they resolve.

use std::time::Duration;

use poa_core::engine::{ReceiptError, Refused};
use poa_core::{Ack, ReceiverOptions};

use super::got::{Got, next, number, positions};
use super::space::{AGENTS, Space, TYPES, allow_unrouted, batches_of, soon};
use crate::cut::polled;

/// `memory` and `stored` do not wait for receivers.
pub(super) async fn resolve_without_receivers(space: &Space) {
    let strongest = space.capabilities().await.strongest_ack;
    for ack in [Ack::Memory, Ack::Stored].into_iter().filter(|ack| *ack <= strongest) {
        let what = format!("`ack = \"{}\"`", ack.name());
        let node = space.build(ack).await;
        let subscription = node.subscribe("subject").await;
        node.start().await;
        let id = node.accepted(&what, node.draft(AGENTS[0], 1)).await.as_slice()[0];
        let got = node.drain(&what, &*subscription).await;
        got.assert_is(&what, [1]);
        let seen = got.messages.iter().find(|message| number(message) == 1).map(|one| one.id());
        assert_eq!(id, seen, "{what}: receivers see the id of the receipt");
        node.end().await;
    }
}

/// `delivered` waits for the critical receiver, and for no other.
pub(super) async fn wait_for_delivery(space: &Space) {
    let what = "`ack = \"delivered\"`";
    let node = space.build(Ack::Delivered).await;
    let critical = ReceiverOptions::subscribe(TYPES).critical();
    let critical = node.subscribe_as("critical", &critical).await;
    let beside = node.subscribe("beside").await;
    node.start().await;
    let one = batches_of(1);
    let mut receipts = Vec::new();
    for number in 0..3 {
        let sent = node.send(node.draft(AGENTS[0], number));
        receipts.push(sent.unwrap_or_else(|error| panic!("{what}: refused: {error}")));
    }
    let [first, second, third] = &mut receipts[..] else { unreachable!("three were sent") };
    next(what, &*beside, &one).await;
    beside.confirm(&[]);
    next(what, &*critical, &one).await;
    let early = tokio::time::timeout(Duration::from_millis(50), &mut *first).await;
    assert!(early.is_err(), "{what}: the receipt resolves before the receiver has confirmed");
    critical.confirm(&[]);
    let confirmed = soon(what, first).await;
    assert_eq!(confirmed, Ok(()), "{what}: a confirmed message is delivered");

    let failed = positions(&next(what, &*critical, &one).await);
    critical.confirm(&failed);
    let set_aside = soon(what, second).await;
    assert_eq!(
        set_aside,
        Err(ReceiptError::NotDelivered),
        "{what}: a message that was dead-lettered"
    );

    next(what, &*critical, &one).await;
    critical.abandon();
    let abandoned = soon(what, third).await;
    assert_eq!(abandoned, Err(ReceiptError::Stopped), "{what}: an abandoned subscription");
    node.end().await;
    time_runs_out(space).await;
}

/// A receiver that was removed confirms nothing more.
pub(super) async fn do_not_wait_for_removed_receivers(space: &Space) {
    let what = "a receipt that waits for a receiver which is removed";
    let node = space.build(Ack::Delivered).await;
    let critical = ReceiverOptions::subscribe(TYPES).critical();
    let leaves = node.subscribe_as("leaves", &critical).await;
    let stays = node.subscribe_as("stays", &critical).await;
    node.start().await;
    let sent = node.send(node.draft(AGENTS[0], 1));
    let mut receipt = sent.unwrap_or_else(|error| panic!("{what}: refused: {error}"));
    next(what, &*leaves, &batches_of(1)).await;
    next(what, &*stays, &batches_of(1)).await;
    let removed = node.engine.unsubscribe("leaves").await;
    removed.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let early = tokio::time::timeout(Duration::from_millis(50), &mut receipt).await;
    assert!(early.is_err(), "{what}: the other receiver has not confirmed it");
    stays.confirm(&[]);
    assert_eq!(soon(what, receipt).await, Ok(()), "{what}: the other receiver has confirmed it");
    node.end().await;
}

/// The message is kept, although its receipt has timed out.
async fn time_runs_out(space: &Space) {
    let what = "`ack = \"delivered\"` that takes too long";
    let within = space.delivered_within(Duration::from_millis(300));
    let node = space.build_with(Ack::Delivered, |settings| settings.acks = within).await;
    let subscription = node.subscribe("slow").await;
    node.start().await;
    let outcome = node.outcome(node.draft(AGENTS[1], 7)).await;
    assert_eq!(outcome.map(drop), Err(ReceiptError::TimedOut), "{what}");
    let limits = batches_of(10);
    let mut got = Got::default();
    while !got.numbers().contains(&7) {
        got.add(what, next(what, &*subscription, &limits).await);
        subscription.confirm(&[]);
    }
    node.end().await;
}

/// Refused messages are returned, and none of them is handed out.
pub(super) async fn refuse_all_or_nothing(space: &Space) {
    let what = "messages that are refused";
    let node = space.build(Ack::Memory).await;
    assert!(!node.engine.is_open(), "an engine that was not started has to be closed");
    let early = node.outcome(node.draft(AGENTS[0], 0)).await;
    assert!(early.is_err(), "{what}: an engine that was not started accepts nothing");
    node.start().await;
    let nobody = node.outcome(node.draft(AGENTS[0], 0)).await;
    let reason = Refused::NobodySubscribed(TYPES[0].into());
    assert_eq!(nobody.map(drop), Err(reason.into()), "{what}: without any subscription");
    let subscription = node.subscribe("subject").await;
    let got = node.drain(what, &*subscription).await;
    got.assert_is(what, []);
    node.engine.close();
    let late = [node.draft(AGENTS[0], 1), node.draft(AGENTS[1], 2)];
    let refused = node.send(late.to_vec()).map(drop);
    let refused = refused.expect_err("a closed engine has to refuse at once");
    assert_eq!(*refused.reason(), Refused::Stopping, "{what}: after the close");
    let back: Vec<_> = refused.into_messages().iter().map(|one| one.payload().clone()).collect();
    let sent = late.map(|one| one.payload().clone());
    assert_eq!(back, sent, "{what}: they come back as they were");
    node.end().await;
    may_be_allowed(space).await;
}

async fn may_be_allowed(space: &Space) {
    let what = "messages that no receiver subscribes to, allowed";
    let node = space.build_with(Ack::Memory, allow_unrouted).await;
    let subscription = node.subscribe("subject").await;
    node.engine.unsubscribe("subject").await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    node.start().await;
    let before = node.counts.unrouted.get();
    let ids = node.accepted(what, node.draft(AGENTS[0], 3)).await;
    assert_eq!(ids.as_slice(), [None], "{what}: they have no id");
    assert_eq!(node.counts.unrouted.get(), before + 1, "{what}: they are counted");
    let ended = soon(what, subscription.next_batch(&batches_of(1))).await;
    assert!(ended.is_none(), "{what}: a removed subscription has ended");
    let never = polled(1, subscription.next_shed()).await;
    assert!(never.is_none(), "{what}: a removed subscription sheds nothing");
    node.end().await;
}
