//! Messages that are sent again.

use poa_core::engine::{Capabilities, Refused};

use super::space::{AGENTS, Node, Space};

/// The number of the message that is sent in the same call as the one that is refused.
const COMPANY: u64 = 8;

/// A message sent again is accepted once; other content under the same key is refused, and with it all messages of
/// the same call.
pub(super) async fn are_taken_once(space: &Space) {
    let what = "a message sent again with its idempotency key";
    let capabilities = space.capabilities().await;
    let node = space.build(capabilities.strongest_ack).await;
    let subscription = node.subscribe("subject").await;
    node.start().await;
    let first = node.accepted(what, node.keyed(AGENTS[0], 1, "k")).await;
    let again = node.accepted(what, node.keyed(AGENTS[0], 1, "k")).await;
    assert_eq!(again.as_slice(), first.as_slice(), "{what}: it has the id of the first");
    assert_eq!(node.counts.repeated.get(), 1, "{what}: it is counted");
    other_content_is_refused(what, &node).await;
    let got = node.drain(what, &*subscription).await;
    got.assert_is(what, with_company([1], &capabilities));
    node.end().await;
    if !capabilities.durable {
        return;
    }
    let what = "a message sent again with its idempotency key after a restart";
    let node = space.build(capabilities.strongest_ack).await;
    let subscription = node.subscribe("subject").await;
    node.start().await;
    let again = node.accepted(what, node.keyed(AGENTS[0], 1, "k")).await;
    assert_eq!(again.as_slice(), first.as_slice(), "{what}: it has the id of the first");
    other_content_is_refused(what, &node).await;
    let got = node.drain(what, &*subscription).await;
    got.assert_is(what, with_company([], &capabilities));
    node.end().await;
}

/// These, and the messages of the same call as one that only the servers refuse: they have stored them by then.
fn with_company(
    numbers: impl IntoIterator<Item = u64>,
    capabilities: &Capabilities,
) -> impl Iterator<Item = u64> {
    numbers.into_iter().chain(capabilities.shared.then_some(COMPANY))
}

async fn other_content_is_refused(what: &str, node: &Node) {
    let both = vec![node.draft(AGENTS[0], COMPANY), node.keyed(AGENTS[0], 9, "k")];
    let refused = node.outcome(both).await.map(drop);
    assert_eq!(refused, Err(Refused::KeyReused.into()), "{what}: with other content");
}
