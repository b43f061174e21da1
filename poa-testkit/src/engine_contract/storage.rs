//! Storage that fails, and works again.

use std::time::Duration;

use poa_core::Ack;
use poa_core::engine::{Receipt, ReceiptError};

use super::got::Got;
use super::space::{AGENTS, Space, soon};
use super::{Fault, Storage};

/// How long to wait for a message that cannot be stored now.
const WHILE: Duration = Duration::from_secs(2);

/// Nothing counts as stored while the storage fails, and what was stored before and after is
/// complete.
pub(super) async fn fails_and_works_again(space: &Space, fault: &Fault) {
    let what = "storage that fails";
    let capabilities = space.capabilities().await;
    let node = space.build(Ack::Stored).await;
    let subscription = node.subscribe("subject").await;
    node.start().await;
    node.send_numbers(what, 0..5).await;
    fault(space.data_dir.path(), Storage::Fails);
    let mut open: Vec<(u64, Receipt)> = Vec::new();
    for number in 5..15 {
        let agent = AGENTS[number as usize % AGENTS.len()];
        let Ok(mut receipt) = node.send(node.draft(agent, number)) else { continue };
        match tokio::time::timeout(WHILE, &mut receipt).await {
            Ok(Ok(())) => panic!("{what}: message {number} counts as stored"),
            Ok(Err(error)) => assert_is_of_storage(what, &error),
            Err(_) => open.push((number, receipt)),
        }
    }
    fault(space.data_dir.path(), Storage::Works);
    let mut stored: Vec<u64> = (0..5).collect();
    for (number, receipt) in open {
        if soon(what, receipt).await.is_ok() {
            stored.push(number);
        }
    }
    let ((), got) = tokio::join!(node.send_marks(), Got::up_to_marks(what, &*subscription));
    got.assert_ordered(what);
    let numbers = got.numbers();
    let lost: Vec<_> = stored.iter().filter(|number| !numbers.contains(number)).collect();
    assert!(lost.is_empty(), "{what}: {lost:?} were stored and are not handed out");
    // With storage on servers, one may have stored what the engine could no longer learn about.
    if !capabilities.shared {
        got.assert_is(what, stored);
    }
    node.end().await;
}

fn assert_is_of_storage(what: &str, error: &ReceiptError) {
    let fits = matches!(error, ReceiptError::NotStored | ReceiptError::Refused(_));
    assert!(fits, "{what}: the receipt says: {error}");
}
