//! Calls without a host, so that every step is controlled.

use std::sync::Arc;
use std::time::Duration;

use poa_core::{
    Activity, AgentId, BuildContext, ControlMessage, DataTypes, DeliveryError, Format, Message,
    Payload, Receiver, ReceiverContext, ReceiverFactory, Timestamp,
};
use serde_json::json;
use tempfile::TempDir;

use super::{ReceiverContract, assert_stored};
use crate::cut::polled;
use crate::{Samples, tasks};

/// The time limit of a single call.
const PATIENCE: Duration = Duration::from_secs(60);

/// Builds receivers outside of a host, one after the other, all with the same data directory: as one host does.
pub(super) struct Bench {
    factory: ReceiverFactory,
    data_dir: TempDir,
    data_types: DataTypes,
}

impl Bench {
    pub(super) fn new<S: AsyncFn() -> Vec<String>>(contract: &ReceiverContract<S>) -> Self {
        let data_dir = TempDir::with_prefix("poa-testkit-").expect("a temporary directory");
        let data_types = DataTypes::new(&contract.data_types);
        let data_types = data_types.unwrap_or_else(|error| panic!("{error}"));
        Self { factory: contract.factory.clone(), data_dir, data_types }
    }

    fn context(&self) -> BuildContext {
        BuildContext::detached("subject", self.data_dir.path())
            .with_data_types(self.data_types.clone())
    }

    async fn build(&self) -> Subject {
        let cx = self.context();
        let built = (self.factory)(&cx).await;
        Subject { receiver: built.unwrap_or_else(|error| panic!("not built: {error:?}")) }
    }

    async fn start(&self) -> Subject {
        let mut subject = self.build().await;
        let cx = ReceiverContext::detached(&self.context());
        succeeds("start", subject.receiver.start(cx)).await;
        subject
    }
}

/// A receiver outside of any host.
struct Subject {
    receiver: Box<dyn Receiver>,
}

impl Subject {
    async fn try_store(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        let call = self.receiver.metrics_received(batch);
        let ended = tokio::time::timeout(PATIENCE, call).await;
        ended.unwrap_or_else(|_| panic!("`metrics_received` did not return within {PATIENCE:?}"))
    }

    async fn store(&mut self, what: &str, batch: &[Message]) {
        let result = self.try_store(batch).await;
        result.unwrap_or_else(|error| {
            panic!("{what}: it has to be accepted, and is not: {error:?}, for {batch:#?}")
        });
    }

    async fn terminate(mut self) {
        let call = self.receiver.terminate();
        let ended = tokio::time::timeout(PATIENCE, call).await;
        ended.unwrap_or_else(|_| panic!("`terminate` did not return within {PATIENCE:?}"));
    }
}

/// Messages of two agents in turn.
fn batch(samples: &mut Samples, count: usize) -> Vec<Message> {
    (0..count)
        .map(|n| {
            let data = json!({"type": "contract", "body": {"n": n}});
            samples.message(["even", "odd"][n % 2], &samples.first_type(), &data)
        })
        .collect()
}

/// Built and never used, started and dropped, and started, used and terminated.
pub(super) async fn leaves_no_task(bench: &Bench, samples: &mut Samples) {
    let before = tasks::alive();
    drop(bench.build().await);
    tasks::no_more_than(before, "built, and never used", "receiver").await;
    drop(bench.start().await);
    tasks::no_more_than(before, "started, and dropped", "receiver").await;
    let mut subject = bench.start().await;
    subject.store("a batch before the end", &batch(samples, 4)).await;
    subject.terminate().await;
    tasks::no_more_than(before, "used, and terminated", "receiver").await;
}

pub(super) async fn takes_a_batch_again<S: AsyncFn() -> Vec<String>>(
    bench: &Bench,
    samples: &mut Samples,
    stored: &S,
) {
    let what = "a batch delivered again";
    let mut subject = bench.start().await;
    let sent = batch(samples, 20);
    subject.store(what, &sent[..10]).await;
    subject.store(what, &sent[..10]).await;
    subject.store(what, &sent[5..]).await;
    assert_stored(what, &sent, stored).await;
    subject.terminate().await;
}

/// The items of one request are received in the same microsecond; only their ids tell them apart.
pub(super) async fn tells_messages_of_one_moment_apart<S: AsyncFn() -> Vec<String>>(
    bench: &Bench,
    samples: &mut Samples,
    stored: &S,
) {
    let what = "500 messages received in the same microsecond";
    let mut subject = bench.start().await;
    let data = json!({"type": "contract", "body": {"n": 1}});
    let draft = samples.draft("batching", &samples.first_type(), &data);
    let sent = samples.stamp_all(vec![draft; 500]);
    subject.store(what, &sent).await;
    subject.store(what, &sent[250..]).await;
    assert_stored(what, &sent, stored).await;
    subject.terminate().await;
}

pub(super) async fn keeps_what_was_confirmed<S: AsyncFn() -> Vec<String>>(
    bench: &Bench,
    samples: &mut Samples,
    stored: &S,
) {
    let what = "an instance dropped without being terminated";
    let sent = batch(samples, 20);
    let mut subject = bench.start().await;
    subject.store(what, &sent[..10]).await;
    drop(subject);
    let mut subject = bench.start().await;
    subject.store(what, &sent[5..]).await;
    subject.terminate().await;
    assert_stored(what, &sent, stored).await;
}

/// The most awaits at which a call is dropped; it ends long before.
const CUTS: usize = 100;

/// Polled this many times and then dropped, as the host does after a timeout: for every number until the call
/// completes.
pub(super) async fn survives_a_call_cut_off_anywhere<S: AsyncFn() -> Vec<String>>(
    bench: &Bench,
    samples: &mut Samples,
    stored: &S,
) {
    for polls in 1..CUTS {
        let what = format!("a call cut off after {polls} polls, then delivered again");
        let sent = batch(samples, 20);
        let mut subject = bench.start().await;
        let call = subject.receiver.metrics_received(&sent[..10]);
        let cut = tokio::time::timeout(PATIENCE, polled(polls, call)).await;
        let cut =
            cut.unwrap_or_else(|_| panic!("`metrics_received` did not return within {PATIENCE:?}"));
        let ended = cut.is_some();
        drop(subject);
        let mut subject = bench.start().await;
        subject.store(&what, &sent).await;
        subject.terminate().await;
        assert_stored(&what, &sent, stored).await;
        if ended {
            return;
        }
    }
    panic!(
        "`metrics_received` does not complete within {CUTS} polls: does it wake itself without end?"
    );
}

/// The number of messages that are delivered while the kept ones are counted.
const PASSING: usize = 2000;
/// The size of their batches, which is also the number that may be kept.
const AT_ONCE: usize = 100;

/// Confirmed messages are released, so that memory is limited however long the receiver lives.
pub(super) async fn keeps_nothing_in_memory(bench: &Bench, samples: &mut Samples) {
    let what = "many messages through one instance";
    let held = Arc::new(());
    let mut subject = bench.start().await;
    for _ in 0..PASSING / AT_ONCE {
        let sent: Vec<_> = (0..AT_ONCE).map(|_| counted(samples, &held)).collect();
        subject.store(what, &sent).await;
    }
    let kept = Arc::strong_count(&held) - 1;
    assert!(
        kept <= AT_ONCE,
        "{what}: {kept} of {PASSING} payloads are still in memory after they were confirmed"
    );
    subject.terminate().await;
}

/// A message whose payload holds a reference to `held` as long as any part of it lives.
fn counted(samples: &mut Samples, held: &Arc<()>) -> Message {
    struct Counted {
        _held: Arc<()>,
    }
    impl AsRef<[u8]> for Counted {
        fn as_ref(&self) -> &[u8] {
            br#"{"type":"contract","body":{}}"#
        }
    }
    let bytes = bytes::Bytes::from_owner(Counted { _held: held.clone() });
    samples.message_of("even", &samples.first_type(), Payload::new(Format::Json, bytes))
}

pub(super) async fn takes_any_object<S: AsyncFn() -> Vec<String>>(
    bench: &Bench,
    samples: &mut Samples,
    stored: &S,
) {
    let what = "an unusual object";
    let deep = format!(r#"{{"body":{}{}}}"#, "[".repeat(120), "]".repeat(120));
    let texts = [
        "{}",
        " { } ",
        r#"{"type":"statistics"}"#,
        r#"{"type":"statistics","body":null}"#,
        r#"{"type":"statistics","body":[1,2]}"#,
        r#"{"type":7,"body":{}}"#,
        r#"{"type":"statistics","body":{"gasPrice":1267650600228229401496703205376,"peers":"many"}}"#,
        r#"{"type":"statistics","body":{"cpu_load":1e999,"memory_usage":-1e-999}}"#,
        r#"{"type":"a\u0000b","body":{"text":"\u0000","emoji":"🦀","quote":"\"'\\"}}"#,
        r#"{"":1,"a":[],"a":{}}"#,
        &deep,
    ];
    let mut sent: Vec<Message> = Vec::new();
    for data_type in samples.types() {
        for (n, text) in texts.iter().enumerate() {
            // One agent for each: different messages can go to stores without a common order.
            sent.push(samples.json(&format!("{n} ☃ ' \" \\ {data_type}"), &data_type, text));
        }
        let packed = Payload::new(
            Format::MessagePack,
            b"\x82\xa4type\xc4\x01t\xa4body\xcb\x7f\xf0\0\0\0\0\0\0"[..].into(),
        );
        sent.push(samples.message_of(&format!("packed {data_type}"), &data_type, packed));
    }
    let mut subject = bench.start().await;
    for message in &sent {
        subject.store(what, std::slice::from_ref(message)).await;
    }
    subject.terminate().await;
    assert_stored(what, &sent, stored).await;
}

pub(super) async fn refuses_the_unreadable_for_good<S: AsyncFn() -> Vec<String>>(
    bench: &Bench,
    samples: &mut Samples,
    stored: &S,
) {
    let what = "a payload that cannot be read";
    let mut sent = batch(samples, 3);
    sent.insert(1, samples.json("even", &samples.first_type(), r#"{"type":"#));
    let mut subject = bench.start().await;
    let outcome = subject.try_store(&sent).await;
    sent.remove(1);
    if !claims_the_others(what, outcome) {
        subject.store(what, &sent).await;
    }
    subject.terminate().await;
    assert_stored(what, &sent, stored).await;
}

/// Whether the receiver says that it has stored all messages but the second, which is unreadable; otherwise they are delivered again.
fn claims_the_others(what: &str, outcome: Result<(), DeliveryError>) -> bool {
    match outcome {
        // A receiver that never reads a payload has none to refuse.
        Ok(()) => false,
        Err(DeliveryError::Permanent { items, .. }) => {
            assert!(
                items.is_empty() || items == [1],
                "{what}: blamed are the items {items:?}, not 1"
            );
            false
        }
        Err(DeliveryError::Rejected(rejected)) => {
            let items: Vec<_> = rejected.iter().map(|one| one.item).collect();
            assert_eq!(items, [1], "{what}: rejected are the items {items:?}, not 1");
            true
        }
        Err(error) => panic!("{what}: {error:?} would be retried without limit"),
    }
}

pub(super) async fn takes_activity_and_control(bench: &Bench) {
    let mut subject = bench.start().await;
    let agent = AgentId::new("contract-activity").expect("a valid id");
    let change = |active| [Activity::new(agent.clone(), active, Timestamp::now())];
    let receiver = &mut subject.receiver;
    for _ in 0..2 {
        succeeds("handle_active", receiver.handle_active(&change(true))).await;
        succeeds("handle_inactive", receiver.handle_inactive(&change(false))).await;
    }
    succeeds("handle_message", receiver.handle_message(ControlMessage::Stopping)).await;
    subject.terminate().await;
}

async fn succeeds(what: &str, call: impl Future<Output = Result<(), DeliveryError>>) {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => panic!("`{what}` has to succeed, and fails: {error:?}"),
        Err(_) => panic!("`{what}` did not return within {PATIENCE:?}"),
    }
}
