//! Requests to a collector, and its answers.

use std::time::Duration;

use poa_core::config::Secret;
use poa_core::telemetry::Telemetry;
use poa_core::{Acknowledgement, AgentId, DataTypes, Timestamp, engine::IdGenerator};
use poa_traces::{Compression, Config, Service, StartError, Traces};

use crate::collector::Collector;
use crate::hosts::{config, counter, traces};

const EXPORTED: &str = "poa_traces_exported_spans_total{}";
const REFUSED: &str = "poa_traces_dropped_spans_total{reason=\"refused\"}";

/// Records the spans of so many messages.
fn record(traces: &Traces, count: usize) {
    let types = DataTypes::new(["readings"]).unwrap();
    let agent = AgentId::new("pump-7").unwrap();
    let (observer, mut ids) = (traces.observer(), IdGenerator::new());
    for _ in 0..count {
        let id = ids.next(Timestamp::now());
        observer.acknowledged(&Acknowledgement::new(id, &agent, types.get("readings").unwrap()));
    }
}

#[tokio::test]
async fn requests_carry_headers_and_are_compressed_if_asked_to() {
    let (collector, telemetry) = (Collector::start(), Telemetry::default());
    let mut config = config(&collector);
    config.headers.insert("authorization".to_owned(), Secret::new("Bearer hunter2"));
    config.compression = Compression::Gzip;
    let traces = traces(&config, &telemetry);
    record(&traces, 10);
    traces.stop().await;
    let came = collector.came();
    assert_eq!(came.spans.len(), 10);
    let headers = &came.headers[0];
    assert_eq!(headers["authorization"], "Bearer hunter2");
    assert!(headers["user-agent"].to_str().unwrap().starts_with("poa/"));
    assert_eq!(counter(&telemetry, EXPORTED), 10);
}

#[tokio::test]
async fn a_span_waits_for_others_at_most_for_the_interval() {
    let (collector, telemetry) = (Collector::start(), Telemetry::default());
    let traces = traces(&config(&collector), &telemetry);
    record(&traces, 3);
    assert_eq!(collector.spans(3).await.len(), 3);
    record(&traces, 1);
    assert_eq!(collector.spans(4).await.len(), 4);
    traces.stop().await;
}

#[tokio::test]
async fn a_full_batch_does_not_wait() {
    let (collector, telemetry) = (Collector::start(), Telemetry::default());
    let mut config = config(&collector);
    config.interval = Duration::from_secs(3600).into();
    let traces = traces(&config, &telemetry);
    record(&traces, 512 + 1);
    assert_eq!(collector.spans(512).await.len(), 512);
    // The one that is left goes at the stop.
    traces.stop().await;
    assert_eq!(collector.came().spans.len(), 513);
}

#[tokio::test]
async fn a_request_that_is_refused_is_not_sent_again() {
    let (collector, telemetry) = (Collector::start(), Telemetry::default());
    collector.answer(401, &[], b"who are you?".to_vec());
    let traces = traces(&config(&collector), &telemetry);
    record(&traces, 2);
    collector.until(|came| came.headers.len() == 1).await;
    record(&traces, 1);
    assert_eq!(collector.spans(1).await.len(), 1);
    traces.stop().await;
    assert_eq!(collector.came().headers.len(), 2);
    assert_eq!((counter(&telemetry, REFUSED), counter(&telemetry, EXPORTED)), (2, 1));
}

#[tokio::test]
async fn spans_that_the_collector_does_not_take_are_counted() {
    use opentelemetry_proto::tonic::collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceResponse,
    };
    use prost::Message as _;

    let (collector, telemetry) = (Collector::start(), Telemetry::default());
    let partial =
        ExportTracePartialSuccess { rejected_spans: 3, error_message: "too many".to_owned() };
    let answer = ExportTraceServiceResponse { partial_success: Some(partial) };
    collector.answer(200, &[], answer.encode_to_vec());
    let traces = traces(&config(&collector), &telemetry);
    record(&traces, 5);
    traces.stop().await;
    assert_eq!((counter(&telemetry, REFUSED), counter(&telemetry, EXPORTED)), (3, 2));
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    let mut config = Config::default();
    config.endpoint = "collector".to_owned();
    let started = Traces::start(&config, &Service::new(&config, "1"), &Telemetry::default());
    let error = started.unwrap_err();
    assert!(matches!(error, StartError::Invalid(_)));
    assert!(error.to_string().starts_with("traces.endpoint: `collector` is not"), "{error}");
}
