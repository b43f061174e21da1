//! The same receiver in a real host.

use std::time::Duration;

use poa_core::{
    Draft, Format, Message, Payload, Receipt, ReceiptError, ReceiverFactory, ReceiverOptions,
};
use serde_json::json;

use super::{ReceiverContract, assert_stored};
use crate::{Fault, Faults, Recording, Step, TestHost};

const AGENTS: [&str; 3] = ["contract-a", "contract-b", "contract-c"];
const MESSAGES: usize = 90;
/// The time limit of a call. A receiver that hangs takes this long in real time, and one on a busy machine needs some
/// of it.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A host with the receiver, and a recording that provides the ids.
async fn host(data_types: &[String], factory: ReceiverFactory) -> (TestHost, Recording) {
    let recording = Recording::new();
    let host = TestHost::start_with(data_types, |host| {
        let all = || ReceiverOptions::subscribe(data_types.to_vec());
        let options = all().batch(7, Duration::ZERO).timeout(TIMEOUT);
        host.receiver_from("subject", options, factory).receiver_from(
            "beside",
            all().batch(1000, Duration::ZERO),
            recording.factory(),
        )
    });
    (host.await, recording)
}

fn send(host: &TestHost, draft: Draft) -> Receipt {
    host.handle().send_to_receivers(draft).unwrap_or_else(|error| panic!("{error}"))
}

fn send_all(host: &TestHost, data_type: &str) -> Vec<Receipt> {
    let numbered = |n: usize| {
        let data = json!({"type": "contract", "body": {"n": n}});
        host.draft(AGENTS[n % AGENTS.len()], data_type, &data)
    };
    (0..MESSAGES).map(|n| send(host, numbered(n))).collect()
}

async fn stop(what: &str, host: TestHost) {
    let report = host.stop().await;
    assert!(report.is_clean(), "{what}: not stopped in order: {report:?}");
}

/// Sends messages through a host, awaits them, stops it, and checks what is stored.
async fn run<S: AsyncFn() -> Vec<String>>(
    what: &str,
    factory: ReceiverFactory,
    contract: &ReceiverContract<S>,
) {
    let (host, recording) = host(&contract.data_types, factory).await;
    for receipt in send_all(&host, contract.data_type()) {
        receipt.await.unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    let sent: Vec<Message> = recording.messages(MESSAGES).await;
    assert_stored(what, &sent, &contract.stored).await;
    stop(what, host).await;
    assert_stored(what, &sent, &contract.stored).await;
}

pub(super) async fn stores_all_in_order<S: AsyncFn() -> Vec<String>>(
    contract: &ReceiverContract<S>,
) {
    run("messages through a host", contract.factory.clone(), contract).await;
}

pub(super) async fn stores_once_when_confirmations_get_lost<S: AsyncFn() -> Vec<String>>(
    contract: &ReceiverContract<S>,
) {
    let faults = Faults::every(2, Fault::Unconfirmed);
    run("every other confirmation lost", faults.around(contract.factory.clone()), contract).await;
}

/// The host stops while messages are in flight: queued messages are delivered first.
pub(super) async fn stops_in_the_middle<S: AsyncFn() -> Vec<String>>(
    contract: &ReceiverContract<S>,
) {
    let what = "a stop with messages in flight";
    let (host, recording) = host(&contract.data_types, contract.factory.clone()).await;
    // Once this one is delivered, the receiver waits for more, and is notified of the stop before the next batch.
    let first = send(&host, host.draft(AGENTS[0], contract.data_type(), &json!({})));
    first.await.unwrap_or_else(|error| panic!("{what}: {error}"));
    let receipts = send_all(&host, contract.data_type());
    stop(what, host).await;
    for receipt in receipts {
        receipt.await.unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    assert_stored(what, &recording.messages(MESSAGES + 1).await, &contract.stored).await;
}

/// Transient errors, and a panic now and then: the host rebuilds the receiver, and every message is stored once.
pub(super) async fn comes_through_faults<S: AsyncFn() -> Vec<String>>(
    contract: &ReceiverContract<S>,
) {
    let faults = Faults::new(|count, step| match step {
        Step::Batch(_) if count % 7 == 3 => Some(Fault::Panic),
        Step::Batch(_) if count % 5 == 2 => Some(Fault::Transient),
        Step::Batch(_) if count % 3 == 1 => Some(Fault::Slow(Duration::from_millis(5))),
        _ => None,
    });
    run("slow, failing and panicking in turn", faults.around(contract.factory.clone()), contract)
        .await;
}

/// The work is done, and then the instance is lost or reports a failure: the host delivers everything again, also in
/// halves.
pub(super) async fn comes_through_faults_after_its_work<S: AsyncFn() -> Vec<String>>(
    contract: &ReceiverContract<S>,
) {
    let faults = Faults::new(|count, step| match step {
        Step::Batch(_) if count == 2 => Some(Fault::Hang.after()),
        Step::Batch(_) if count % 5 == 3 => Some(Fault::Panic.after()),
        // A fault that names a single message would be taken at its word.
        Step::Batch(batch) if count % 5 == 0 && batch.len() > 1 => Some(Fault::Permanent.after()),
        _ => None,
    });
    let what = "hanging, panicking and refusing once the work was done";
    run(what, faults.around(contract.factory.clone()), contract).await;
}

pub(super) async fn sets_only_the_unreadable_aside<S: AsyncFn() -> Vec<String>>(
    contract: &ReceiverContract<S>,
) {
    let what = "a payload that cannot be read, through a host";
    let (host, recording) = host(&contract.data_types, contract.factory.clone()).await;
    let broken = Payload::new(Format::Json, b"{\"type\":"[..].into());
    let bad = send(&host, host.draft_of(AGENTS[0], contract.data_type(), broken));
    let good = send_all(&host, contract.data_type());
    for receipt in good {
        receipt.await.unwrap_or_else(|error| panic!("{what}: another one is affected: {error}"));
    }
    let refused = bad.await == Err(ReceiptError::NotDelivered);
    let dead = host.status("subject").delivery.map_or(0, |delivery| delivery.dead_lettered);
    assert_eq!(dead, u64::from(refused), "{what}: {dead} messages were dead-lettered");
    let sent = recording.messages(MESSAGES + 1).await;
    assert_stored(what, &sent[1..], &contract.stored).await;
    stop(what, host).await;
}
