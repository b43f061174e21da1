//! Backlogs that reach their bounds, while their receivers run and while they are away.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Got, Node, limits, prefix, receive, shared, soon};
use poa_core::engine::{Engine as _, Refused, Subscription};
use poa_core::{ReceiverOptions, WhenFull};

/// The most bytes that wait for a receiver.
const MOST: u64 = 4 << 10;

fn bounded(types: &[&str], policy: WhenFull) -> ReceiverOptions {
    ReceiverOptions::subscribe(types.iter().copied()).backlog(MOST, policy)
}

/// Sends until a message is refused, because of the backlog of this receiver.
async fn refused(node: &Node, number: u64, receiver: &str) {
    let sending = async {
        loop {
            match node.send("a", number) {
                Ok(receipt) => drop(receipt.await),
                Err(error) => return error,
            }
        }
    };
    let error = soon("messages are refused", sending).await;
    let expected = Refused::BacklogFull { receiver: receiver.into() };
    assert_eq!(error.reason(), &expected);
}

/// Sheds until the backlog is within its bound.
async fn shed(subscription: &Arc<dyn Subscription>) {
    let shedding = tokio::spawn({
        let subscription = subscription.clone();
        async move { subscription.next_shed().await }
    });
    soon("the backlog is within its bound", async {
        while subscription.level().bytes > MOST {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    shedding.abort();
}

/// The next messages of a receiver, as far as there are any.
async fn rest(subscription: &Arc<dyn Subscription>) -> Vec<u64> {
    let mut got = Got::default();
    got.take(&soon("a batch", subscription.next_batch(&limits())).await.unwrap());
    subscription.confirm(&[]);
    got.distinct("a")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_over_its_bound_refuses_skips_or_sets_aside() {
    let node = Node::build(shared(&prefix()), "one").await;
    let skips = node.subscribe_with("skips", &bounded(&["x", "y"], WhenFull::Skip)).await;
    let letters = node.subscribe_with("letters", &bounded(&["x", "y"], WhenFull::DeadLetter)).await;
    node.engine.start().await.unwrap();
    for number in 0..60 {
        soon("a receipt", node.send("a", number).unwrap()).await.unwrap();
    }
    let set_aside = soon("letters", letters.next_shed()).await;
    assert!(!set_aside.is_empty());
    letters.shed_kept(set_aside.len());
    shed(&skips).await;
    let numbers = rest(&skips).await;
    assert!(numbers.len() < 60 && numbers.ends_with(&[59]), "{numbers:?}");
    let _refusing = node.subscribe_with("refuses", &bounded(&["x", "y"], WhenFull::Refuse)).await;
    refused(&node, 100, "refuses").await;
    node.finish().await;
}

/// Numbers that are no multiples of 3 are of the type `x`, the others of `y`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receivers_that_are_away_refuse_or_find_what_their_bound_allows_while_others_go_on() {
    let prefix = prefix();
    let absent = Node::start(shared(&prefix), "absent").await;
    let of = [
        ("skips", bounded(&["x"], WhenFull::Skip)),
        ("letters", bounded(&["x"], WhenFull::DeadLetter)),
        ("refuses", bounded(&["y"], WhenFull::Refuse)),
    ];
    for (name, options) in &of {
        absent.subscribe_with(name, options).await;
    }
    absent.finish().await;

    let front = Node::build(shared(&prefix), "front").await;
    let running = front.subscribe("running").await;
    front.engine.start().await.unwrap();
    let numbers: Vec<u64> = (0..90).filter(|number| number % 3 != 0).collect();
    for number in &numbers {
        soon("a receipt", front.send("a", *number).unwrap()).await.unwrap();
    }
    let mut got = Got::default();
    receive(&*running, &mut got, numbers.len()).await;
    assert_eq!(got.distinct("a"), numbers, "a receiver that runs gets everything");
    // Nothing of the type that only the other two are away for is refused; this is.
    refused(&front, 3, "refuses").await;
    soon("a receipt", front.send("a", 91).unwrap()).await.unwrap();

    let back = Node::build(shared(&prefix), "back").await;
    let mut subscriptions = Vec::new();
    for (name, options) in &of {
        subscriptions.push(back.subscribe_with(name, options).await);
    }
    back.engine.start().await.unwrap();
    let [skips, letters, refuses] = &subscriptions[..] else { panic!("three receivers") };
    let set_aside = soon("letters", letters.next_shed()).await;
    letters.shed_kept(set_aside.len());
    soon("everything is read", async {
        while skips.level().bytes < MOST {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    shed(skips).await;
    let newest = rest(skips).await;
    assert!(newest.len() < numbers.len() && newest.ends_with(&[91]), "{newest:?}");
    // What is received makes room.
    assert!(rest(refuses).await.iter().all(|number| *number == 3));
    soon("messages are accepted again", front.send_until_stored("a", 6)).await;
    front.finish().await;
    back.finish().await;
}
