//! Answers are positive if and only if the message was delivered.

use std::time::Duration;

use poa_core::{Ack, Refused, WhenFull};
use serde_json::json;

use super::{HandlerContract, SUBJECT, stop};
use crate::{Fault, Faults, Recording, TestHost};

/// The time limit of a stop while a receiver never returns.
const SHORT: Duration = Duration::from_millis(200);

pub(super) async fn says_yes_once_delivered<C: AsyncFn(&[String]) -> bool>(
    subject: &HandlerContract<C>,
) {
    let what = "a message that is delivered";
    let recording = Recording::new();
    let host = subject.host(&subject.factory, recording.factory(), |host| host).await;
    for count in 1..=3 {
        let positive = subject.ask(what, &host, &recording).await;
        assert!(positive, "{what}: {}", subject.not_positive());
        let seen = recording.record().messages().count();
        assert_eq!(seen, count, "{what}: {count} positive answers, {seen} messages delivered");
    }
    stop(what, host).await;
}

pub(super) async fn says_no_when_not_delivered<C: AsyncFn(&[String]) -> bool>(
    subject: &HandlerContract<C>,
) {
    let what = "a message that no receiver can deliver";
    let faults = Faults::every(1, Fault::Permanent);
    let recording = Recording::new();
    let receiver = faults.around(recording.factory());
    let host = subject.host(&subject.factory, receiver, |host| host).await;
    assert!(
        !subject.ask(what, &host, &recording).await,
        "{what}: the answer is positive all the same; it has to wait for the receipt, and to check its result"
    );
    assert!(faults.batches_tried() > 0, "{what}: it was never sent to the receivers");
    stop(what, host).await;
}

pub(super) async fn says_no_when_refused<C: AsyncFn(&[String]) -> bool>(
    subject: &HandlerContract<C>,
) {
    let what = "a message that the host refuses, because a backlog is full";
    let hang = Faults::every(1, Fault::Hang);
    let full = subject.receiver_options().backlog(1500, WhenFull::Refuse);
    let recording = Recording::new();
    let host = TestHost::start_with(&subject.data_types, |host| {
        host.ack(Ack::Memory)
            .stop_timeouts(Duration::from_secs(5), SHORT)
            .handler_from(SUBJECT, subject.factory.clone())
            .receiver_from("receiver", full, hang.around(recording.factory()))
    })
    .await;
    fill(&host);
    let positive = subject.ask(what, &host, &recording).await;
    assert!(!positive, "{what}: the answer is positive all the same");
    stop(what, host).await;
}

/// Sends until messages are refused.
fn fill(host: &TestHost) {
    let data_type =
        host.handle().data_types().iter().next().expect("a data type").name().to_owned();
    let draft = || host.draft("filler", &data_type, &json!({}));
    loop {
        match host.handle().send_to_receivers(draft()) {
            Ok(receipt) => drop(receipt),
            Err(error) => match error.reason() {
                Refused::BacklogFull { .. } => return,
                other => panic!("{other}"),
            },
        }
    }
}

pub(super) async fn says_no_when_stopped<C: AsyncFn(&[String]) -> bool>(
    subject: &HandlerContract<C>,
) {
    let what = "a stop before it is known whether the message is delivered";
    let hang = Faults::every(1, Fault::Hang);
    let receiver = hang.around(Recording::new().factory());
    let stops_soon = |host: poa_core::HostBuilder| host.stop_timeouts(SHORT, SHORT);
    let host = subject.host(&subject.factory, receiver, stops_soon).await;
    let endpoints = host.status(SUBJECT).endpoints;
    let stopping = async {
        while hang.batches_tried() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        host.stop().await
    };
    let both = async { tokio::join!((subject.client)(&endpoints), stopping) };
    match tokio::time::timeout(super::PATIENCE, both).await {
        Ok((positive, _)) => assert!(!positive, "{what}: the answer is positive"),
        Err(_) => panic!(
            "{what}: the message was not sent to the receivers, or the client was left without an answer on an open connection"
        ),
    }
}
