//! Observers of a host: acknowledgements, attempts and dead letters.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue should panic")]

mod support;

use std::sync::{Arc, Mutex};

use poa_core::{
    Ack, Acknowledgement, Attempt, DeliveryError, Host, IdempotencyKey, Message, MessageId,
    Observer, ReceiptError, ReceiverOptions, Rejected, SenderSpan, Timestamp, WhenFull,
    receiver_fn,
};
use poa_engine_local::Memory;
use support::{MEBI, OPEN, builder, draft, draft_of, gate, number};

/// One call of an observer.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Acknowledged(MessageId, Option<Result<(), ReceiptError>>),
    Delivered { receiver: String, numbers: Vec<u64>, batch: usize, attempt: u32 },
    Failed { receiver: String, numbers: Vec<u64>, batch: usize, attempt: u32, error: String },
    SetAside(String, u64, String),
}

/// Keeps what it sees.
#[derive(Default)]
struct Witness {
    seen: Mutex<Vec<Seen>>,
    times: Mutex<Vec<(Timestamp, Timestamp)>>,
    /// The span that every message comes from.
    sender_span: Option<SenderSpan>,
}

impl Witness {
    fn add(&self, seen: Seen) {
        self.seen.lock().unwrap().push(seen);
    }

    fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    fn time(&self, from: Timestamp, to: Timestamp) {
        self.times.lock().unwrap().push((from, to));
    }
}

impl Observer for Witness {
    fn sees_acknowledgements(&self) -> bool {
        true
    }

    fn acknowledged(&self, of: &Acknowledgement<'_>) {
        assert_eq!((of.agent_id.as_str(), of.data_type.name()), ("agent", "a"));
        assert!(of.bytes > 0);
        assert_eq!(of.sender_span, self.sender_span);
        self.time(of.received_at, of.ended_at);
        self.add(Seen::Acknowledged(
            of.id,
            of.outcome.map(|outcome| outcome.map_err(Clone::clone)),
        ));
    }

    fn delivered(&self, attempt: &Attempt<'_>) {
        self.time(attempt.began_at, attempt.ended_at);
        self.add(Seen::Delivered {
            receiver: attempt.receiver.to_owned(),
            numbers: attempt.messages.iter().map(number).collect(),
            batch: attempt.batch,
            attempt: attempt.number,
        });
    }

    fn failed(&self, attempt: &Attempt<'_>, error: &str) {
        self.time(attempt.began_at, attempt.ended_at);
        self.add(Seen::Failed {
            receiver: attempt.receiver.to_owned(),
            numbers: attempt.messages.iter().map(number).collect(),
            batch: attempt.batch,
            attempt: attempt.number,
            error: error.to_owned(),
        });
    }

    fn set_aside(&self, receiver: &str, message: &Message, reason: &str) {
        self.add(Seen::SetAside(receiver.to_owned(), number(message), reason.to_owned()));
    }
}

fn delivered(numbers: &[u64], batch: usize, attempt: u32) -> Seen {
    Seen::Delivered { receiver: "r".into(), numbers: numbers.into(), batch, attempt }
}

fn failed(numbers: &[u64], batch: usize, attempt: u32, error: &str) -> Seen {
    let error = error.to_owned();
    Seen::Failed { receiver: "r".into(), numbers: numbers.into(), batch, attempt, error }
}

#[tokio::test]
async fn a_message_is_acknowledged_once_however_often_it_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let (witness, receiver) = (Arc::new(Witness::default()), gate(0));
    let host = builder(dir.path())
        .ack(Ack::Stored)
        .observer(witness.clone())
        .receiver_from("r", ReceiverOptions::subscribe(["a"]), receiver.factory.clone())
        .start()
        .await
        .unwrap();
    let handle = host.handle();
    let agent = poa_core::AgentId::new("agent").unwrap();
    let keyed = |n: u64| {
        let key = IdempotencyKey::new(&agent, &n.to_string()).unwrap();
        draft(&handle, n, 0).with_idempotency_key(key)
    };
    let mut receipt = handle.send_to_receivers(keyed(0)).unwrap();
    assert_eq!(witness.take(), []);
    (&mut receipt).await.unwrap();
    let first = receipt.id().unwrap();
    drop(receipt);
    assert_eq!(witness.take(), [Seen::Acknowledged(first, Some(Ok(())))]);

    // A duplicate has the id of the first; a message that is refused has none.
    let context = handle.context("test");
    let receipt =
        context.send_all_to_receivers(vec![keyed(0), keyed(1), keyed(2), keyed(1)]).unwrap();
    let ids: Vec<_> = receipt.ids().as_slice().iter().map(|id| id.unwrap()).collect();
    assert_eq!((ids[0], ids[1]), (first, ids[3]));
    // The handler does not wait.
    drop(receipt);
    let seen = [Seen::Acknowledged(ids[1], None), Seen::Acknowledged(ids[2], None)];
    assert_eq!(witness.take(), seen);
    handle.send_to_receivers(draft_of(&handle, "b", 0, 0)).unwrap_err();
    assert_eq!(witness.take(), []);
    assert!(witness.times.lock().unwrap().iter().all(|(from, to)| from <= to));
    drop(host);
}

#[tokio::test]
async fn with_ack_memory_a_message_is_acknowledged_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let sender_span = SenderSpan::new([7; 16], [1; 8]);
    let witness = Arc::new(Witness { sender_span, ..Witness::default() });
    let receiver = gate(0);
    let host = Host::builder()
        .data_types(["a"])
        .data_dir(dir.path())
        .engine::<Memory>("memory", Default::default())
        .observer(witness.clone())
        .receiver_from("r", ReceiverOptions::subscribe(["a"]), receiver.factory.clone())
        .start()
        .await
        .unwrap();
    let handle = host.handle();
    let draft = draft(&handle, 0, 0).with_extension(sender_span.unwrap());
    let receipt = handle.send_to_receivers(draft).unwrap();
    let seen = [Seen::Acknowledged(receipt.id().unwrap(), Some(Ok(())))];
    assert_eq!(witness.take(), seen);
    drop(receipt);
    assert_eq!(witness.take(), []);
}

#[tokio::test]
async fn every_observer_sees_each_attempt_with_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let witnesses = [Arc::new(Witness::default()), Arc::new(Witness::default())];
    let calls = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let receiver = receiver_fn(move |_| {
        let call = calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        async move { if call == 0 { Err(DeliveryError::transient("away")) } else { Ok(()) } }
    });
    let [one, other] = witnesses.clone();
    let host = builder(dir.path())
        .ack(Ack::Delivered)
        .observer(one)
        .observer(other)
        .receiver_from("r", ReceiverOptions::subscribe(["a"]), receiver)
        .start()
        .await
        .unwrap();
    let receipt = host.handle().send_to_receivers(draft(&host.handle(), 7, 0)).unwrap();
    let id = receipt.id().unwrap();
    receipt.await.unwrap();
    assert!(host.stop().await.is_clean());
    for witness in witnesses {
        let seen = [
            failed(&[7], 1, 1, "away"),
            delivered(&[7], 1, 2),
            Seen::Acknowledged(id, Some(Ok(()))),
        ];
        assert_eq!(witness.take(), seen);
        let times = witness.times.lock().unwrap();
        let [(_, failed), (again, delivered), (received, acknowledged)] = times[..] else {
            panic!("{times:?}")
        };
        assert!(received <= failed && failed <= again && delivered <= acknowledged, "{times:?}");
    }
}

/// Panics whatever it sees.
struct Panics;

impl Observer for Panics {
    fn sees_acknowledgements(&self) -> bool {
        true
    }

    fn acknowledged(&self, _: &Acknowledgement<'_>) {
        panic!("at an acknowledgement");
    }

    fn delivered(&self, _: &Attempt<'_>) {
        panic!("at a delivery");
    }

    fn failed(&self, _: &Attempt<'_>, _: &str) {
        panic!("at a failure");
    }

    fn set_aside(&self, _: &str, _: &Message, _: &str) {
        panic!("at a dead letter");
    }
}

#[tokio::test]
async fn an_observer_that_panics_harms_neither_deliveries_nor_other_observers() {
    let dir = tempfile::tempdir().unwrap();
    let witness = Arc::new(Witness::default());
    let receiver = receiver_fn(|batch: Vec<Message>| async move {
        match number(&batch[0]) {
            0 => Err(DeliveryError::permanent("never")),
            _ => Ok(()),
        }
    });
    let host = builder(dir.path())
        .ack(Ack::Delivered)
        .observer(Arc::new(Panics))
        .observer(witness.clone())
        .receiver_from("r", ReceiverOptions::subscribe(["a"]), receiver)
        .start()
        .await
        .unwrap();
    let mut ids = Vec::new();
    for (n, outcome) in [(0, Err(ReceiptError::NotDelivered)), (1, Ok(()))] {
        let mut receipt = host.handle().send_to_receivers(draft(&host.handle(), n, 0)).unwrap();
        assert_eq!((&mut receipt).await, outcome);
        ids.push(receipt.id().unwrap());
    }
    assert!(host.stop().await.is_clean());
    let seen = [
        failed(&[0], 1, 1, "not deliverable: never"),
        Seen::SetAside("r".into(), 0, "never".into()),
        Seen::Acknowledged(ids[0], Some(Err(ReceiptError::NotDelivered))),
        delivered(&[1], 1, 1),
        Seen::Acknowledged(ids[1], Some(Ok(()))),
    ];
    assert_eq!(witness.take(), seen);
}

#[tokio::test]
async fn the_messages_of_a_call_may_have_different_results() {
    let dir = tempfile::tempdir().unwrap();
    let witness = Arc::new(Witness::default());
    let receiver = receiver_fn(|batch: Vec<Message>| async move {
        let odd = batch.iter().enumerate().filter(|(_, message)| number(message) % 2 == 1);
        let reject = |(item, _)| Rejected::new(item, "odd");
        let rejected: Vec<_> = odd.map(reject).collect();
        if rejected.is_empty() { Ok(()) } else { Err(DeliveryError::Rejected(rejected)) }
    });
    let host = builder(dir.path())
        .observer(witness.clone())
        .receiver_from("r", ReceiverOptions::subscribe(["a"]), receiver)
        .start()
        .await
        .unwrap();
    let handle = host.handle();
    let batch = (0..3).map(|n| draft(&handle, n, 0)).collect();
    drop(handle.context("test").send_all_to_receivers(batch).unwrap());
    assert!(host.stop().await.is_clean());
    let mut seen = witness.take();
    seen.retain(|seen| !matches!(seen, Seen::Acknowledged(..)));
    let dead = Seen::SetAside("r".into(), 1, "odd".into());
    assert_eq!(seen, [failed(&[1], 3, 1, "odd"), delivered(&[0, 2], 3, 1), dead]);
}

#[tokio::test]
async fn messages_that_do_not_fit_into_a_backlog_are_seen_as_dead_letters() {
    let dir = tempfile::tempdir().unwrap();
    let (witness, receiver) = (Arc::new(Witness::default()), gate(0));
    let options = ReceiverOptions::subscribe(["a"]).batch(1, std::time::Duration::ZERO);
    let host = builder(dir.path())
        .ack(Ack::Stored)
        .observer(witness.clone())
        .receiver_from("r", options.backlog(MEBI, WhenFull::DeadLetter), receiver.factory.clone())
        .start()
        .await
        .unwrap();
    let handle = host.handle();
    for n in 0..3 {
        handle.send_to_receivers(draft(&handle, n, 600 << 10)).unwrap().await.unwrap();
    }
    receiver.permits.add_permits(OPEN);
    assert!(host.stop().await.is_clean());
    let seen = witness.take();
    let dead = |n| {
        seen.iter().any(|seen| matches!(seen, Seen::SetAside(_, of, reason) if *of == n && reason.contains("full")))
    };
    assert!((dead(0) || dead(1)) && !dead(2), "{seen:?}");
}
