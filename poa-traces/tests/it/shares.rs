//! The share of messages that are traced.

use std::collections::BTreeSet;

use poa_core::telemetry::Telemetry;
use poa_core::{MessageId, ReceiverOptions, receiver_fn};

use crate::collector::Collector;
use crate::hosts::{builder, config, send, traces};

/// Sends messages through a host that several nodes' worth of traces observe, each with its share; returns the ids of the messages, and the traces
/// of each.
async fn traced(
    shares: &[f64],
    count: usize,
) -> (Vec<MessageId>, Vec<BTreeSet<(Vec<u8>, Vec<u8>)>>) {
    let (dir, telemetry) = (tempfile::tempdir().unwrap(), Telemetry::default());
    let mut builder = builder(dir.path(), &telemetry);
    let mut nodes = Vec::new();
    for share in shares {
        let collector = Collector::start();
        let mut config = config(&collector);
        config.sample = *share;
        let traces = traces(&config, &telemetry);
        builder = builder.observer(traces.observer());
        nodes.push((collector, traces));
    }
    let options = ReceiverOptions::subscribe(["readings"]);
    let receiver = receiver_fn(|_| async { Ok(()) });
    let host = builder.receiver_from("store", options, receiver).start().await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(send(&host.handle()).await);
    }
    assert!(host.stop().await.is_clean());
    let mut traces = Vec::new();
    for (collector, own) in nodes {
        own.stop().await;
        let spans = collector.came().spans;
        let root = spans.iter().filter(|span| span.parent_span_id.is_empty());
        let roots: BTreeSet<_> =
            root.map(|span| (span.trace_id.clone(), span.span_id.clone())).collect();
        let child = spans.iter().filter(|span| !span.parent_span_id.is_empty());
        let children: BTreeSet<_> =
            child.map(|span| (span.trace_id.clone(), span.parent_span_id.clone())).collect();
        assert_eq!(roots, children, "every delivery has its root");
        traces.push(roots);
    }
    (ids, traces)
}

#[tokio::test]
async fn nodes_trace_the_same_messages() {
    let (ids, traces) = traced(&[0.5, 0.5, 1.0, 0.0], 400).await;
    let [one, other, all, none] = &traces[..] else { panic!("{traces:?}") };
    assert_eq!(one, other);
    assert!(one.is_subset(all) && none.is_empty());
    let sent: BTreeSet<_> = ids.iter().map(|id| id.as_bytes().to_vec()).collect();
    assert_eq!(all.iter().map(|(trace, _)| trace.clone()).collect::<BTreeSet<_>>(), sent);
    // Ten standard deviations.
    assert!((100..300).contains(&one.len()), "{}", one.len());
}
