//! Nodes on the cluster that tests share: publishing, receiving, taking over.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;

use std::time::Duration;

use common::{Got, Node, limits, prefix, receive, shared, soon};
use poa_core::engine::{Acks, Engine as _, Event, ReceiptError, Refused};
use poa_core::{Ack, Activity, AgentId, ReceiverOptions, Scope, Timestamp};
use poa_engine_nats::Admin;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_arrive_in_the_order_of_their_agent() {
    let node = Node::build(shared(&prefix()), "one").await;
    let subscription = node.subscribe("local").await;
    node.engine.start().await.unwrap();
    let mut receipts = Vec::new();
    for number in 0..300 {
        receipts.push(node.send(&format!("agent-{}", number % 7), number).unwrap());
    }
    for receipt in receipts {
        soon("a receipt", receipt).await.unwrap();
    }
    let mut got = Got::default();
    receive(&*subscription, &mut got, 300).await;
    got.assert_ordered();
    assert_eq!(got.repeated, 0);
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_confirmed_is_delivered_after_a_restart() {
    let prefix = prefix();
    let node = Node::build(shared(&prefix), "one").await;
    let subscription = node.subscribe("local").await;
    node.engine.start().await.unwrap();
    for number in 0..20 {
        soon("a receipt", node.send("a", number).unwrap()).await.unwrap();
    }
    let mut limits = limits();
    limits.size = 5;
    let batch = soon("a batch", subscription.next_batch(&limits)).await.unwrap();
    subscription.confirm(&[]);
    let confirmed = batch.len();
    assert!(confirmed <= 5, "{confirmed}");
    soon("a batch", subscription.next_batch(&limits)).await.unwrap();
    node.finish().await;

    let node = Node::build(shared(&prefix), "one").await;
    let subscription = node.subscribe("local").await;
    node.engine.start().await.unwrap();
    let mut got = Got::default();
    receive(&*subscription, &mut got, 20 - confirmed).await;
    let expected: Vec<u64> = (confirmed as u64..20).collect();
    assert_eq!(got.distinct("a"), expected);
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_was_seen_by_another_front_end_is_stored_once() {
    let prefix = prefix();
    let receiving = Node::build(shared(&prefix), "receiving").await;
    let subscription = receiving.subscribe("local").await;
    receiving.engine.start().await.unwrap();
    let front = Node::start(shared(&prefix), "front").await;
    let first = receiving.send_keyed("a", 1, "k1").unwrap();
    let id = first.id();
    soon("a receipt", first).await.unwrap();
    let mut again = front.send_keyed("a", 1, "k1").unwrap();
    soon("a receipt", &mut again).await.unwrap();
    assert_eq!(again.id(), id, "the id of the first");
    soon("a receipt", front.send_keyed("a", 2, "k2").unwrap()).await.unwrap();
    let other = front.send_keyed("a", 3, "k1").unwrap();
    let refused = soon("an answer", other).await.unwrap_err();
    assert_eq!(refused, Refused::KeyReused.into());
    soon("a receipt", front.send("a", 4).unwrap()).await.unwrap();
    let mut got = Got::default();
    receive(&*subscription, &mut got, 3).await;
    assert_eq!(got.distinct("a"), [1, 2, 4]);
    front.finish().await;
    receiving.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_are_shared_and_taken_over_in_order() {
    let prefix = prefix();
    let one = Node::build(shared(&prefix), "one").await;
    let first = one.subscribe("local").await;
    one.engine.start().await.unwrap();
    let two = Node::build(shared(&prefix), "two").await;
    let second = two.subscribe("local").await;
    two.engine.start().await.unwrap();
    let held = |subscription: &dyn poa_core::engine::Subscription| {
        subscription.status()["partitions"].as_array().unwrap().len()
    };
    soon("each node holds its share", async {
        while (held(&*first), held(&*second)) != (2, 2) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    for number in 0..100 {
        soon("a receipt", one.send(&format!("agent-{}", number % 9), number).unwrap())
            .await
            .unwrap();
    }
    let mut got = Got::default();
    // Both get something, and what one leaves behind the other gets.
    let batch = soon("a batch", first.next_batch(&limits())).await.unwrap();
    got.take(&batch);
    first.confirm(&[]);
    one.finish().await;
    receive(&*second, &mut got, 100).await;
    got.assert_ordered();
    soon("the other node holds everything", async {
        while held(&*second) != 4 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    two.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_ended_is_replaced_when_its_lease_runs_out() {
    let prefix = prefix();
    let mut config = shared(&prefix);
    config.lease = poa_core::config::Duration::from_secs(3);
    let (sent, taken) = std::sync::mpsc::channel();
    let dying = config.clone();
    // A runtime of its own: when it ends, nothing of the node is left to let go of anything.
    let thread = std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap();
        runtime.block_on(async {
            let node = Node::build(dying, "dying").await;
            let subscription = node.subscribe("local").await;
            node.engine.start().await.unwrap();
            for number in 0..10 {
                soon("a receipt", node.send("a", number).unwrap()).await.unwrap();
            }
            let batch = soon("a batch", subscription.next_batch(&limits())).await.unwrap();
            sent.send(batch.len()).unwrap();
        });
        runtime.shutdown_background();
    });
    thread.join().unwrap();
    assert!(taken.recv().unwrap() > 0);
    let node = Node::build(config, "next").await;
    let subscription = node.subscribe("local").await;
    node.engine.start().await.unwrap();
    let mut got = Got::default();
    receive(&*subscription, &mut got, 10).await;
    assert_eq!(got.distinct("a"), (0..10).collect::<Vec<_>>());
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_activity_reach_every_receiver() {
    let node = Node::build(shared(&prefix()), "one").await;
    let subscriptions = [node.subscribe("one").await, node.subscribe("two").await];
    node.engine.start().await.unwrap();
    let agent = AgentId::new("a").unwrap();
    node.engine.publish_activity(Activity::new(agent.clone(), true, Timestamp::now()));
    for subscription in subscriptions {
        let batch = soon("a batch", subscription.next_batch(&limits())).await.unwrap();
        let [(_, Event::Activity(change))] = &batch[..] else { panic!("{batch:?}") };
        assert!(change.agent_id == agent && change.active);
        subscription.confirm(&[]);
    }
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_receiver_messages_are_refused() {
    let node = Node::start(shared(&prefix()), "one").await;
    let error = node.send("a", 1).unwrap_err();
    assert_eq!(error.reason(), &Refused::NobodySubscribed("x".into()));
    let subscription = node.subscribe("local").await;
    soon("a receipt", node.send("a", 1).unwrap()).await.unwrap();
    drop(subscription);
    node.engine.unsubscribe("local").await.unwrap();
    assert!(node.send("a", 1).is_err());
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_sees_receivers_and_forgets_them() {
    let config = shared(&prefix());
    let node = Node::build(config.clone(), "one").await;
    let subscription = node.subscribe("local").await;
    node.engine.start().await.unwrap();
    soon("a receipt", node.send("a", 1).unwrap()).await.unwrap();
    receive(&*subscription, &mut Got::default(), 1).await;
    let admin = Admin::connect(&config).await.unwrap();
    let state = admin.receivers().await.unwrap().remove(0);
    assert_eq!((state.name.as_str(), state.free), ("local", 0));
    assert_eq!(state.held.get("one"), Some(&4));
    let error = admin.forget("local").await.unwrap_err().to_string();
    assert!(error.contains("runs on one"), "{error}");
    let stream = admin.stream().await.unwrap();
    assert!(stream.leader.is_some() && stream.replicas.len() == 2, "{stream:?}");
    node.finish().await;
    assert_eq!(admin.forget("local").await.unwrap().free, 4);
    assert!(admin.receivers().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_of_each_node_gets_everything_on_every_node() {
    let prefix = prefix();
    let mut options = ReceiverOptions::subscribe(["x", "y"]);
    options.scope = Scope::Each;
    let (one, two) =
        (Node::build(shared(&prefix), "one").await, Node::build(shared(&prefix), "two").await);
    let subscriptions =
        [one.subscribe_with("page", &options).await, two.subscribe_with("page", &options).await];
    one.engine.start().await.unwrap();
    two.engine.start().await.unwrap();
    for number in 0..20 {
        let agent = format!("agent-{}", number % 5);
        soon("a receipt", one.send(&agent, number).unwrap()).await.unwrap();
    }
    for subscription in subscriptions {
        let mut got = Got::default();
        receive(&*subscription, &mut got, 20).await;
        got.assert_ordered();
    }
    let admin = Admin::connect(&shared(&prefix)).await.unwrap();
    assert!(admin.receivers().await.unwrap().is_empty(), "it keeps nothing in the stream");
    one.finish().await;
    two.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delivered_waits_for_receivers_on_other_nodes() {
    let prefix = prefix();
    let mut bus = common::settings();
    bus.acks = Acks::new(&common::types(), |_| Ack::Delivered, Duration::from_secs(60));
    let receiving = Node::build(shared(&prefix), "receiving").await;
    let subscription = receiving.subscribe("local").await;
    receiving.engine.start().await.unwrap();
    let front = Node::build_with(shared(&prefix), "front", bus).await;
    front.engine.start().await.unwrap();
    let limits = limits();
    for failed in [false, true] {
        let mut receipt = front.send("a", 1).unwrap();
        let batch = soon("a batch", subscription.next_batch(&limits)).await.unwrap();
        let early = tokio::time::timeout(Duration::from_millis(200), &mut receipt).await;
        assert!(early.is_err(), "before the receiver confirms");
        let positions: Vec<_> = batch.iter().map(|(position, _)| *position).collect();
        subscription.confirm(if failed { &positions } else { &[] });
        let outcome = soon("a receipt", receipt).await;
        let expected = if failed { Err(ReceiptError::NotDelivered) } else { Ok(()) };
        assert_eq!(outcome, expected);
    }
    front.finish().await;
    receiving.finish().await;
}
