//! A receiver that is behind, and the effect of its policy.

use poa_core::engine::{ReceiptError, Refused, Subscription, SubscriptionCounts};
use poa_core::{Ack, ReceiverOptions, WhenFull};

use super::got::{Got, MARK, next, number, numbers};
use super::space::{AGENTS, Node, Space, TYPES, batches_of, soon, until};

/// The limit of the backlog, in bytes.
const BOUND: u64 = 64 << 10;

/// The size of a message, so that some dozens reach the limit.
const SIZE: usize = 2 << 10;

/// Many more messages than fit the limit.
const COUNT: u64 = 150;

fn bounded(policy: WhenFull) -> ReceiverOptions {
    ReceiverOptions::subscribe(TYPES).backlog(BOUND, policy)
}

/// Sends one message; true when it was accepted, false when `receiver` is behind.
async fn is_accepted(node: &Node, number: u64, receiver: &str) -> bool {
    let draft = node.draft_of(AGENTS[0], TYPES[0], number, SIZE);
    match node.outcome(draft).await {
        Ok(_) => true,
        Err(ReceiptError::Refused(Refused::BacklogFull { receiver: full })) => {
            assert_eq!(&*full, receiver, "another receiver is named as full");
            false
        }
        Err(error) => panic!("a receiver that is behind: {error}"),
    }
}

/// New messages are refused while the receiver is behind, and accepted again once it has caught up; none is
/// lost.
pub(super) async fn refuse(space: &Space) {
    let what = "a full backlog that refuses";
    // An engine on servers learns only from them how much waits, so messages come no faster than they are stored.
    let node = space.build(space.capabilities().await.strongest_ack).await;
    let behind = node.subscribe_as("behind", &bounded(WhenFull::Refuse)).await;
    node.start().await;
    let mut sent = 0;
    while is_accepted(&node, sent, "behind").await {
        sent += 1;
        assert!(sent < 100 * COUNT, "{what}: it grows without an end");
    }
    let (mut got, limits) = (Got::default(), batches_of(10));
    while got.numbers().len() < sent as usize {
        got.add(what, next(what, &*behind, &limits).await);
        behind.confirm(&[]);
    }
    got.assert_is(what, 0..sent);
    soon("a backlog that was confirmed has room", async {
        while !is_accepted(&node, sent, "behind").await {
            node.engine.room().await;
        }
    })
    .await;
    let got = node.drain(what, &*behind).await;
    got.assert_is(what, [sent]);
    node.end().await;
}

/// The oldest are skipped and counted; a subscription beside it gets everything.
pub(super) async fn skip(space: &Space) {
    let what = "a full backlog that skips";
    let node = space.build(Ack::Memory).await;
    let counts = SubscriptionCounts::default();
    let skipped = counts.skipped.clone();
    let behind = node.subscribe_counted("behind", &TYPES, &bounded(WhenFull::Skip), counts).await;
    let beside = node.subscribe("beside").await;
    node.start().await;
    for number in 0..COUNT {
        assert!(is_accepted(&node, number, "none").await, "{what}: a message is refused");
    }
    tokio::select! {
        letters = behind.next_shed() => panic!("{what}: {} are to be dead-lettered", letters.len()),
        () = until("a full backlog skips what exceeds its limit, and counts it", || {
            skipped.get() > 0 && behind.level().bytes <= BOUND
        }) => (),
    }
    let got = node.drain(what, &*behind).await;
    got.assert_ordered(what);
    let numbers = got.numbers();
    assert!(numbers.contains(&(COUNT - 1)), "{what}: the newest has to stay: {numbers:?}");
    let gone = COUNT - numbers.len() as u64;
    assert_eq!(skipped.get(), gone, "{what}: each skipped message is counted");
    Got::up_to_marks(what, &*beside).await.assert_is(what, 0..COUNT);
    node.end().await;
}

/// The oldest are returned until they are durable; together with the delivered ones they are all messages.
pub(super) async fn set_aside(space: &Space) {
    let what = "a full backlog that dead-letters";
    let node = space.build(Ack::Memory).await;
    let behind = node.subscribe_as("behind", &bounded(WhenFull::DeadLetter)).await;
    node.start().await;
    let mut kept = Vec::new();
    let mut sent = 0;
    while sent < COUNT {
        match is_accepted(&node, sent, "behind").await {
            true => sent += 1,
            // Refused only while what was shed before is not durable.
            false => kept.extend(set_one_part_aside(what, &*behind).await),
        }
    }
    // More was accepted than fits the limit.
    kept.extend(set_one_part_aside(what, &*behind).await);
    let ((), delivered) = tokio::join!(node.send_marks(), shed_and_deliver(what, &*behind));
    let mut all: Vec<u64> = kept.into_iter().chain(delivered).collect();
    all.retain(|number| *number != MARK);
    all.sort_unstable();
    assert_eq!(all, (0..COUNT).collect::<Vec<_>>(), "{what}: each is dead-lettered or delivered");
    node.end().await;
}

/// The numbers of the dead-lettered and of the delivered messages, up to the last message of each agent.
async fn shed_and_deliver(what: &str, behind: &dyn Subscription) -> Vec<u64> {
    let limits = batches_of(5);
    let mut all = Vec::new();
    while all.iter().filter(|number| **number == MARK).count() < AGENTS.len() {
        tokio::select! {
            biased;
            part = set_one_part_aside(what, behind) => all.extend(part),
            batch = next(what, behind, &limits) => {
                behind.confirm(&[]);
                all.extend(numbers(&batch));
            }
        }
    }
    all
}

/// The messages that are shed next, requested twice: they stay until they are durable.
async fn set_one_part_aside(what: &str, behind: &dyn poa_core::engine::Subscription) -> Vec<u64> {
    let letters = soon(what, behind.next_shed()).await;
    assert!(!letters.is_empty(), "{what}: nothing is to be dead-lettered");
    let again =
        soon("shed messages that are not durable, returned again", behind.next_shed()).await;
    let shed: Vec<_> = letters.iter().map(number).collect();
    let still: Vec<_> = again.iter().take(shed.len()).map(number).collect();
    assert_eq!(still, shed, "{what}: shed messages that are not durable have to be returned again");
    behind.shed_kept(shed.len());
    shed
}
