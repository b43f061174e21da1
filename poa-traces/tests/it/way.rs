//! The spans of a message.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use poa_core::telemetry::Telemetry;
use poa_core::{
    Ack, AgentId, Attempt, DataTypes, DeliveryError, Draft, Message, MessageId, Payload,
    ReceiverFactory, ReceiverOptions, Timestamp, receiver_fn,
};
use poa_engine_local::Log;

use crate::collector::{Collector, attribute};
use crate::hosts::{builder, config, draft, send, traces};

/// A receiver whose first call fails.
fn flaky() -> ReceiverFactory {
    let calls = Arc::new(AtomicUsize::new(0));
    receiver_fn(move |_: Vec<Message>| {
        let first = calls.fetch_add(1, Ordering::Relaxed) == 0;
        async move { if first { Err(DeliveryError::transient("away")) } else { Ok(()) } }
    })
}

/// The spans of this name, by their start.
fn named<'s>(spans: &'s [Span], name: &str) -> Vec<&'s Span> {
    let mut named: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    named.sort_by_key(|span| span.start_time_unix_nano);
    named
}

fn error(span: &Span) -> Option<&str> {
    let status = span.status.as_ref()?;
    assert_eq!(status.code(), StatusCode::Error);
    assert_eq!(attribute(&span.attributes, "error.type"), "_OTHER");
    Some(&status.message)
}

#[tokio::test]
async fn a_message_that_is_delivered_after_a_restart_stays_in_its_trace() {
    let (dir, collector) = (tempfile::tempdir().unwrap(), Collector::start());
    let start = async |receiver: ReceiverFactory| {
        let telemetry = Telemetry::default();
        let traces = traces(&config(&collector), &telemetry);
        let host = builder(dir.path(), &telemetry)
            .engine::<Log>("log", Default::default())
            .ack(Ack::Stored)
            .stop_timeouts(Duration::from_secs(1), Duration::from_millis(100))
            .observer(traces.observer())
            .receiver_from("store", ReceiverOptions::subscribe(["readings"]), receiver)
            .start()
            .await
            .unwrap();
        (host, traces)
    };
    let (host, traces) = start(receiver_fn(|_| std::future::pending())).await;
    let id = send(&host.handle()).await;
    assert_eq!(host.stop().await.undelivered, [("store".to_owned(), 1)]);
    traces.stop().await;

    let (host, traces) = start(receiver_fn(|_| async { Ok(()) })).await;
    let spans = collector.spans(2).await;
    assert!(host.stop().await.is_clean());
    traces.stop().await;
    let [root, delivery] = &spans[..] else { panic!("{spans:#?}") };
    assert_eq!((&*root.name, &*delivery.name), ("publish readings", "deliver store"));
    assert_eq!((&*root.trace_id, &*delivery.trace_id), (&id.as_bytes()[..], &id.as_bytes()[..]));
    assert_eq!(delivery.parent_span_id, root.span_id);
    assert!(root.end_time_unix_nano <= delivery.start_time_unix_nano);
}

#[tokio::test]
async fn a_trace_shows_the_acknowledgement_each_attempt_and_the_dead_letter() {
    let (dir, telemetry) = (tempfile::tempdir().unwrap(), Telemetry::default());
    let collector = Collector::start();
    let traces = traces(&config(&collector), &telemetry);
    let readings = || ReceiverOptions::subscribe(["readings"]);
    let poisoned = |_: Vec<Message>| async { Err(DeliveryError::permanent("poison")) };
    let host = builder(dir.path(), &telemetry)
        .observer(traces.observer())
        .receiver_from("steady", readings(), receiver_fn(|_| async { Ok(()) }))
        .receiver_from("flaky", readings().critical(), flaky())
        .receiver_from("picky", readings(), receiver_fn(poisoned))
        .ack(Ack::Delivered)
        .start()
        .await
        .unwrap();
    let receipt = host.handle().send_to_receivers(draft(&host.handle(), "pump-7")).unwrap();
    let id = receipt.id().unwrap();
    receipt.await.unwrap();
    host.stop().await;
    traces.stop().await;

    let came = collector.came();
    let spans = came.spans;
    assert_eq!(spans.len(), 6, "{spans:#?}");
    let [root] = named(&spans, "publish readings")[..] else { panic!("{spans:#?}") };
    assert_eq!((root.kind(), error(root)), (SpanKind::Producer, None));
    assert!(root.parent_span_id.is_empty());
    assert_eq!(attribute(&root.attributes, "messaging.client.id"), "pump-7");
    assert_eq!(attribute(&root.attributes, "messaging.message.body.size"), "11");
    assert_eq!(attribute(&root.attributes, "messaging.operation.type"), "send");

    for span in &spans {
        assert_eq!(span.trace_id, id.as_bytes());
        assert!(span.span_id.len() == 8 && span.span_id != [0; 8]);
        assert_eq!((span.flags, &*span.trace_state), (1, &*root.trace_state));
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
        assert!(root.start_time_unix_nano <= span.start_time_unix_nano);
        assert_eq!(attribute(&span.attributes, "messaging.system"), "poa");
        assert_eq!(attribute(&span.attributes, "messaging.message.id"), id.to_string());
        assert_eq!(attribute(&span.attributes, "messaging.destination.name"), "readings");
        if span.name != root.name {
            assert_eq!(span.parent_span_id, root.span_id);
        }
    }
    let mut ids: Vec<_> = spans.iter().map(|span| &span.span_id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), spans.len());

    let [steady] = named(&spans, "deliver steady")[..] else { panic!("{spans:#?}") };
    assert_eq!((steady.kind(), error(steady)), (SpanKind::Consumer, None));
    let [first, second] = named(&spans, "deliver flaky")[..] else { panic!("{spans:#?}") };
    assert_eq!((error(first), error(second)), (Some("away"), None));
    assert!(first.end_time_unix_nano <= second.start_time_unix_nano);
    // The receiver that the acknowledgement waits for.
    assert!(second.end_time_unix_nano <= root.end_time_unix_nano);
    for (number, span) in [("1", first), ("2", second)] {
        let of = |key| attribute(&span.attributes, key);
        assert_eq!(of("poa.attempt"), number);
        assert_eq!(of("messaging.destination.subscription.name"), "flaky");
        assert_eq!(of("messaging.batch.message_count"), "", "it was alone");
        assert_eq!(of("messaging.operation.type"), "process");
        let waited: f64 = of("poa.waited_seconds").parse().unwrap();
        let since_root = (span.start_time_unix_nano - root.start_time_unix_nano) as f64 / 1e9;
        assert!(waited <= since_root, "{waited} {since_root}");
    }
    let [refused] = named(&spans, "deliver picky")[..] else { panic!("{spans:#?}") };
    assert_eq!(error(refused), Some("not deliverable: poison"));
    let [dead] = named(&spans, "dead-letter picky")[..] else { panic!("{spans:#?}") };
    assert_eq!((dead.kind(), error(dead)), (SpanKind::Internal, Some("poison")));
    assert!(refused.end_time_unix_nano <= dead.start_time_unix_nano);

    assert_eq!(attribute(&came.service, "service.name"), "poa");
    assert_eq!(attribute(&came.service, "service.version"), "9.9.9");
    assert!(!attribute(&came.service, "service.instance.id").is_empty());
}

#[tokio::test]
async fn the_span_of_a_message_shows_how_many_the_call_had() {
    let (telemetry, collector) = (Telemetry::default(), Collector::start());
    let traces = traces(&config(&collector), &telemetry);
    let types = DataTypes::new(["readings"]).unwrap();
    let message = |n| {
        let payload = Payload::json(&serde_json::json!({"bar": 3.2})).unwrap();
        let data_type = types.get("readings").unwrap().clone();
        let draft = Draft::new(AgentId::new("pump-7").unwrap(), data_type, payload);
        Message::stamp(draft, MessageId::from_bytes([n; 16]), Timestamp::now())
    };
    traces.observer().delivered(&Attempt::new("store", &[1, 2, 3].map(message)));
    let spans = collector.spans(3).await;
    traces.stop().await;
    for span in spans {
        assert_eq!(attribute(&span.attributes, "messaging.batch.message_count"), "3");
    }
}
