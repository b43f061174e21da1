//! Random faults at random moments: every message is delivered at least once, in order per agent, or its loss is
//! reported.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue should panic")]

use std::collections::HashMap;
use std::time::Duration;

use poa_core::{Message, MessageId, ReceiptError, WhenFull};
use poa_testkit::{Fault, Faults, Recording, Step, TestHost};
use proptest::prelude::*;
use serde_json::json;

const AGENTS: [&str; 3] = ["a", "b", "c"];

/// One run: the fault of each build and each batch, and the arrival of the messages.
#[derive(Clone, Debug)]
struct Schedule {
    builds: Vec<Option<Fault>>,
    batches: Vec<Option<Fault>>,
    /// The agent of each message, and the pause before it, in milliseconds.
    messages: Vec<(usize, u64)>,
    batch: usize,
    when_full: WhenFull,
}

fn fault() -> impl Strategy<Value = Option<Fault>> {
    prop_oneof![
        4 => Just(None),
        1 => Just(Some(Fault::Transient)),
        1 => Just(Some(Fault::Permanent)),
        1 => prop::collection::vec(0usize..10, 0..4).prop_map(|items| Some(Fault::PermanentFor(items))),
        1 => Just(Some(Fault::Panic)),
        1 => Just(Some(Fault::Hang)),
        1 => (0u64..300).prop_map(|ms| Some(Fault::Slow(Duration::from_millis(ms)))),
        1 => Just(Some(Fault::Unconfirmed)),
        1 => prop_oneof![Just(Fault::Panic), Just(Fault::Hang), Just(Fault::Permanent)]
            .prop_map(|fault| Some(fault.after())),
    ]
}

fn schedules() -> impl Strategy<Value = Schedule> {
    let builds = prop::collection::vec(prop::option::of(Just(Fault::Transient)), 0..4);
    let batches = prop::collection::vec(fault(), 0..40);
    let messages = prop::collection::vec((0..AGENTS.len(), 0u64..50), 1..60);
    let when_full =
        prop_oneof![Just(WhenFull::Refuse), Just(WhenFull::Skip), Just(WhenFull::DeadLetter)];
    (builds, batches, messages, 1usize..9, when_full).prop_map(
        |(builds, batches, messages, batch, when_full)| Schedule {
            builds,
            batches,
            messages,
            batch,
            when_full,
        },
    )
}

fn faults(schedule: &Schedule) -> Faults {
    let Schedule { builds, batches, .. } = schedule.clone();
    Faults::new(move |count, step| {
        let at = usize::try_from(count).unwrap() - 1;
        match step {
            Step::Build => builds.get(at).cloned().flatten(),
            Step::Batch(_) => batches.get(at).cloned().flatten(),
            _ => None,
        }
    })
}

/// The result that the sender got for each accepted message, in the order sent.
type Told = Vec<Result<(), ReceiptError>>;

async fn run(schedule: &Schedule) -> Result<(), TestCaseError> {
    let (subject, healthy) = (Recording::new(), Recording::new());
    let host = TestHost::start(|host| {
        let options = TestHost::options().timeout(Duration::from_secs(1));
        let bad = options.clone().batch(schedule.batch, Duration::from_millis(5));
        let bad = bad.backlog(3000, schedule.when_full);
        let factory = faults(schedule).around(subject.factory());
        let host = host.delivered_within(Duration::from_secs(7200));
        host.receiver_from("subject", bad, factory).receiver_from(
            "healthy",
            options,
            healthy.factory(),
        )
    });
    let host = host.await;
    let mut receipts = Vec::new();
    for (agent, pause) in &schedule.messages {
        tokio::time::sleep(Duration::from_millis(*pause)).await;
        let draft = host.draft(AGENTS[*agent], "system_metrics", &json!({}));
        receipts.extend(host.handle().send_to_receivers(draft).ok());
    }
    let mut told = Told::new();
    for receipt in receipts {
        let answer = tokio::time::timeout(Duration::from_secs(3600), receipt).await;
        told.push(answer.map_err(|_| TestCaseError::fail("a receipt without an answer"))?);
    }
    let taken = healthy.messages(told.len()).await;
    prop_assert_eq!(taken.len(), told.len());
    let lost = told.iter().filter(|told| told.is_err()).count() as u64;
    let counts = host.status("subject").delivery.unwrap();
    prop_assert_eq!(counts.dead_lettered + counts.skipped, lost, "lost and counted");
    prop_assert_eq!(counts.delivered, told.len() as u64 - lost);
    prop_assert!(host.stop().await.is_clean());
    check(&taken, &told, &subject)
}

fn check(taken: &[Message], told: &Told, subject: &Recording) -> Result<(), TestCaseError> {
    let record = subject.record();
    let mut first_at: HashMap<MessageId, usize> = HashMap::new();
    for (at, message) in record.messages().enumerate() {
        first_at.entry(message.id()).or_insert(at);
    }
    let mut last_of: HashMap<&str, usize> = HashMap::new();
    for (message, told) in taken.iter().zip(told) {
        let at = first_at.get(&message.id()).copied();
        prop_assert!(
            at.is_some() || told.is_err(),
            "{message:?} is lost, and its receipt succeeded"
        );
        let Some(at) = at else { continue };
        let before = last_of.insert(message.agent_id().as_str(), at);
        prop_assert!(before.is_none_or(|before| before < at), "{message:?} overtook another");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_message_is_lost_silently(schedule in schedules()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(run(&schedule))?;
    }
}
