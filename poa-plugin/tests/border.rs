//! Handlers and receivers behind the border, in one process: the host's side and the SDK's, with all that lies between.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod support;

use std::time::Duration;

use poa_core::{Ack, AgentId, Assigns, Draft, Format, Host, IdempotencyKey, Payload, Refused};
use support::{Step, host, host_with, kinds, of, receiver, until};

#[tokio::test(flavor = "multi_thread")]
async fn messages_arrive_as_they_were_sent() {
    let (host, seen) = host(&[]).await;
    let handle = host.handle();
    let types = handle.data_types().clone();
    for (n, format) in [(1, Format::Json), (2, Format::MessagePack)] {
        let payload = Payload::new(format, vec![b'0' + n; 3].into());
        let agent = AgentId::new(format!("agent-{n}")).unwrap();
        let draft = Draft::new(agent, types.get("m").unwrap().clone(), payload);
        handle.send_to_receivers(draft).unwrap().await.unwrap();
    }
    assert!(host.stop().await.is_clean());
    let seen = seen.messages();
    let told: Vec<_> = seen
        .iter()
        .map(|m| (m.agent_id().to_string(), m.payload().format(), m.payload().bytes().clone()))
        .collect();
    assert_eq!(told[0], ("agent-1".into(), Format::Json, "111".into()));
    assert_eq!(told[1], ("agent-2".into(), Format::MessagePack, "222".into()));
    assert!(seen[0].id() < seen[1].id() && seen[0].received_at() <= seen[1].received_at());
}

/// To a receiver, and from a handler.
#[tokio::test(flavor = "multi_thread")]
async fn assigns_and_keys_cross_in_both_directions() {
    let (host, seen) = host(&[]).await;
    let assigns = Assigns::new().with("peer", "10.0.0.1").unwrap();
    let agent = AgentId::new("agent-1").unwrap();
    let key = IdempotencyKey::new(&agent, "k").unwrap();
    let data_type = host.handle().data_types().get("m").unwrap().clone();
    let payload = || Payload::new(Format::Json, "{}".into());
    let draft = Draft::new(agent.clone(), data_type, payload()).with_assigns(assigns.clone());
    let keyed = draft.with_idempotency_key(key);
    host.handle().send_to_receivers(keyed).unwrap().await.unwrap();
    until(|| seen.messages().len() == 1).await;

    let cx = of(&host).await;
    let data_type = cx.data_types().get("m").unwrap().clone();
    let draft = Draft::new(agent, data_type, payload()).with_assigns(assigns.clone());
    cx.send_to_receivers(draft).unwrap().await.unwrap();
    until(|| seen.messages().len() == 2).await;
    host.stop().await;
    let seen = seen.messages();
    assert_eq!([seen[0].assigns(), seen[1].assigns()], [&assigns; 2]);
    assert_eq!([seen[0].idempotency_key(), seen[1].idempotency_key()], [Some(key), None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_keeps_its_meaning() {
    let steps = [Step::Transient, Step::Panic, Step::PermanentFirst, Step::Ok];
    let (host, seen) = host(&steps).await;
    send(&host, 1).await;
    until(|| {
        host.handle()
            .status()
            .plugins
            .iter()
            .any(|p| p.delivery.is_some_and(|d| d.dead_lettered == 1))
    })
    .await;
    send(&host, 2).await;
    until(|| seen.messages().len() == 1).await;
    let plugin = receiver(&host);
    let delivery = plugin.delivery.unwrap();
    assert_eq!((delivery.delivered, delivery.dead_lettered, plugin.restarts), (1, 1, 1));
    assert!(delivery.retried >= 2, "{delivery:?}");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_for_ever_is_broken_off() {
    let (host, seen) = host(&[Step::Wait, Step::Ok]).await;
    send(&host, 1).await;
    until(|| seen.messages().len() == 1).await;
    assert_eq!(receiver(&host).restarts, 1);
    // The future that waited was dropped, and so was its instance.
    until(|| seen.dropped() == 1).await;
    host.stop().await;
    until(|| seen.dropped() == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thread_that_blocks_is_left_behind() {
    let (host, seen) = host(&[Step::Block(Duration::from_millis(900)), Step::Ok]).await;
    send(&host, 1).await;
    until(|| seen.messages().len() == 1).await;
    assert_eq!((receiver(&host).restarts, seen.dropped()), (1, 0));
    // Its answer comes too late, and only then it goes.
    until(|| seen.dropped() == 1).await;
    host.stop().await;
}

/// More of them than the library has threads for an instance.
#[tokio::test(flavor = "multi_thread")]
async fn threads_that_block_for_good_are_those_of_one_instance() {
    let (host, seen) = host(&[Step::BlockForGood; 5]).await;
    send(&host, 1).await;
    until(|| seen.messages().len() == 1).await;
    assert_eq!((receiver(&host).restarts, seen.dropped()), (5, 0));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inactivity_and_the_end_are_told() {
    let (host, seen) = host(&[]).await;
    let cx = host.handle().context("outside");
    let agent = AgentId::new("agent-1").unwrap();
    cx.activity().ping(&agent);
    cx.publish_inactive(&agent);
    until(|| seen.log().len() == 2).await;
    host.stop().await;
    assert_eq!(seen.log(), ["active agent-1", "inactive agent-1", "stopping", "terminate"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_sends_through_the_border() {
    let (host, seen) = host(&[]).await;
    let cx = of(&host).await;
    let data_type = cx.data_types().get("m").unwrap().clone();
    let payload = Payload::new(Format::Json, "{}".into());
    let draft = Draft::new(AgentId::new("agent-9").unwrap(), data_type, payload);
    cx.send_to_receivers(draft.clone()).unwrap().await.unwrap();
    cx.activity().ping(draft.agent_id());
    assert_eq!((cx.activity().active(), host.handle().status().active_agents), (1, 1));
    host.stop().await;
    // The handler kept its context; the host it belongs to is gone.
    assert_eq!(cx.send_to_receivers(draft).unwrap_err(), Refused::Stopping);
    assert_eq!(seen.messages().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_starts_and_sends_through_the_border() {
    let (host, seen) = host(&[]).await;
    until(|| seen.started().len() == 1).await;
    let cx = seen.started().remove(0);
    assert_eq!((cx.name(), cx.shutdown().is_cancelled()), ("r", false));
    let data_type = cx.data_types().get("m").unwrap().clone();
    let payload = Payload::new(Format::Json, "{}".into());
    let draft = Draft::new(AgentId::new("agent-9").unwrap(), data_type, payload);
    cx.send_to_receivers(draft.clone()).unwrap().await.unwrap();
    until(|| seen.messages().len() == 1).await;
    host.handle().remove_receiver("r").await.unwrap();
    // A task that keeps the context outlives the receiver, and is told and refused.
    until(|| cx.shutdown().is_cancelled()).await;
    until(|| seen.dropped() == 1).await;
    assert_eq!(cx.send_to_receivers(draft).unwrap_err(), Refused::Stopping);
    assert_eq!(seen.messages().len(), 1);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_or_panics_is_an_instance_that_fails() {
    let (host, seen) = host_with(1, &[]).await;
    until(|| seen.started().len() == 3).await;
    send(&host, 1).await;
    until(|| seen.messages().len() == 1).await;
    assert_eq!(receiver(&host).restarts, 2);
    until(|| seen.dropped() == 2).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_backlog_is_refused_by_name() {
    let (host, _seen) = host(&[Step::Block(Duration::from_secs(2))]).await;
    let cx = of(&host).await;
    let data_type = cx.data_types().get("m").unwrap().clone();
    let payload = Payload::new(Format::Json, vec![b' '; 20 << 20].into());
    let draft = Draft::new(AgentId::new("agent-9").unwrap(), data_type, payload);
    let refused = std::iter::repeat_with(|| cx.send_to_receivers(draft.clone()))
        .find_map(Result::err)
        .unwrap();
    assert_eq!(refused, Refused::BacklogFull { receiver: "r".into() });
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn problems_of_a_configuration_have_their_place() {
    let kinds = kinds();
    let configure = |config| kinds.receivers()["scripted"].configure(config).err().unwrap();
    let problems = configure(serde_json::json!({ "number": 13 }));
    assert_eq!(
        (&*problems[0].path, &*problems[0].message),
        (&["number".to_owned()][..], "unlucky")
    );
    let problems = configure(serde_json::json!({ "number": "x" }));
    assert_eq!(problems[0].path, ["number"]);
    let schema = kinds.receivers()["scripted"].schema();
    assert_eq!(schema["properties"]["number"]["description"], "A number.");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_to_build_says_why() {
    let kinds = kinds();
    let build = async |number: u64| {
        let config = serde_json::json!({ "number": number });
        let factory = kinds.receivers()["scripted"].configure(config).unwrap();
        Host::builder()
            .data_types(["m"])
            .engine::<poa_engine_local::Memory>("memory", Default::default())
            .ack(Ack::Memory)
            .data_dir(std::env::temp_dir().join("poa-plugin-never-written"))
            .receiver_from("r", support::options(), factory)
            .start()
            .await
    };
    let chain = |error: poa_core::StartError| {
        let source = std::error::Error::source(&error).unwrap().to_string();
        format!("{error}: {source}")
    };
    assert_eq!(chain(build(404).await.unwrap_err()), "receivers.r: not found");
    let panicked = chain(build(500).await.unwrap_err());
    assert!(panicked.contains("panicked while it was built: five hundred"), "{panicked}");
}

async fn send(host: &Host, n: u32) {
    let handle = host.handle();
    let data_type = handle.data_types().get("m").unwrap().clone();
    let payload = Payload::new(poa_core::Format::Json, n.to_string().into());
    let draft = Draft::new(AgentId::new("agent").unwrap(), data_type, payload);
    let receipt = handle.send_to_receivers(draft).unwrap();
    receipt.await.unwrap();
}
