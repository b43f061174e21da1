//! Collectors that are away, slow or overloaded.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use poa_core::telemetry::Telemetry;
use poa_core::{Host, Message, ReceiverOptions, receiver_fn};
use poa_traces::{Config, Traces};
use tokio::sync::{Semaphore, watch};
use tracing_subscriber::fmt::MakeWriter;

use crate::collector::Collector;
use crate::hosts::{builder, config, counter, send, traces};

const EXPORTED: &str = "poa_traces_exported_spans_total{}";
const OVERFLOWED: &str = "poa_traces_dropped_spans_total{reason=\"queue_full\"}";
const UNSENT: &str = "poa_traces_dropped_spans_total{reason=\"unsent\"}";

/// A host with one receiver, and its traces.
struct Traced {
    host: Host,
    traces: Traces,
    telemetry: Telemetry,
    /// A permit for each message that the receiver got.
    delivered: Arc<Semaphore>,
    _dir: tempfile::TempDir,
}

impl Traced {
    async fn start(config: &Config) -> Self {
        let (dir, telemetry) = (tempfile::tempdir().unwrap(), Telemetry::default());
        let traces = traces(config, &telemetry);
        let options = ReceiverOptions::subscribe(["readings"]);
        let delivered = Arc::new(Semaphore::new(0));
        let count = delivered.clone();
        let receiver = receiver_fn(move |batch: Vec<Message>| {
            count.add_permits(batch.len());
            async { Ok(()) }
        });
        let host = builder(dir.path(), &telemetry)
            .observer(traces.observer())
            .receiver_from("store", options, receiver)
            .start()
            .await
            .unwrap();
        Self { host, traces, telemetry, delivered, _dir: dir }
    }

    async fn send(&self, count: usize) {
        for _ in 0..count {
            send(&self.host.handle()).await;
        }
    }

    /// Stops everything. All messages are delivered by then.
    async fn stop(self) -> Telemetry {
        assert!(self.host.stop().await.is_clean());
        self.traces.stop().await;
        self.telemetry
    }
}

/// Log output of the current thread.
#[derive(Clone, Default)]
struct Lines(watch::Sender<String>);

impl Lines {
    fn capture() -> (Self, tracing::subscriber::DefaultGuard) {
        let lines = Self::default();
        let output = tracing_subscriber::fmt().with_writer(lines.clone()).finish();
        (lines, tracing::subscriber::set_default(output))
    }

    fn count(&self, part: &str) -> usize {
        self.0.borrow().lines().filter(|line| line.contains(part)).count()
    }

    async fn until(&self, part: &str) {
        self.0.subscribe().wait_for(|text| text.contains(part)).await.unwrap();
    }
}

impl io::Write for Lines {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        self.0.send_modify(|text| text.push_str(std::str::from_utf8(part).unwrap()));
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Lines {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn spans_wait_for_a_collector_that_starts_later() {
    let (lines, _guard) = Lines::capture();
    let mut collector = Collector::closed();
    let traced = Traced::start(&config(&collector)).await;
    traced.send(3).await;
    lines.until("traces are not exported").await;
    collector.open();
    assert_eq!(collector.spans(6).await.len(), 6);
    let telemetry = traced.stop().await;
    assert_eq!((counter(&telemetry, EXPORTED), counter(&telemetry, UNSENT)), (6, 0));
    assert_eq!(lines.count("traces are not exported"), 1);
    assert_eq!(lines.count("traces are exported again"), 1);
}

#[tokio::test]
async fn an_overloaded_collector_gets_the_spans_again() {
    let collector = Collector::start();
    for status in [429, 503] {
        collector.answer(status, &[("retry-after", "0")], Vec::new());
    }
    let traced = Traced::start(&config(&collector)).await;
    traced.send(1).await;
    assert_eq!(collector.spans(2).await.len(), 2);
    let telemetry = traced.stop().await;
    assert!(collector.came().headers.len() >= 3);
    assert_eq!((counter(&telemetry, EXPORTED), counter(&telemetry, UNSENT)), (2, 0));
}

#[tokio::test]
async fn a_slow_collector_delays_no_delivery() {
    const MESSAGES: u32 = 6000;
    let (lines, _guard) = Lines::capture();
    let collector = Collector::start();
    collector.hold();
    let traced = Traced::start(&config(&collector)).await;
    // Every message is acknowledged and delivered while the collector does not answer.
    traced.send(MESSAGES as usize).await;
    traced.delivered.acquire_many(MESSAGES).await.unwrap().forget();
    assert_eq!(counter(&traced.telemetry, EXPORTED), 0);
    assert!(counter(&traced.telemetry, OVERFLOWED) > 0);
    collector.release();
    let telemetry = traced.stop().await;
    let (exported, dropped) = (counter(&telemetry, EXPORTED), counter(&telemetry, OVERFLOWED));
    assert_eq!(exported + dropped, 2 * u64::from(MESSAGES));
    assert_eq!(collector.came().spans.len() as u64, exported);
    assert_eq!(lines.count("spans are dropped"), 1);
}

#[tokio::test]
async fn a_stop_exports_what_is_queued() {
    let collector = Collector::start();
    let mut config = config(&collector);
    config.interval = Duration::from_secs(3600).into();
    let traced = Traced::start(&config).await;
    traced.send(700).await;
    traced.stop().await;
    assert_eq!(collector.came().spans.len(), 1400);
}

#[tokio::test]
async fn a_stop_tries_a_collector_that_is_away_once() {
    let (lines, _guard) = Lines::capture();
    let collector = Collector::closed();
    let mut config = config(&collector);
    config.interval = Duration::from_secs(3600).into();
    let traced = Traced::start(&config).await;
    traced.send(700).await;
    let telemetry = traced.stop().await;
    assert_eq!((counter(&telemetry, UNSENT), counter(&telemetry, EXPORTED)), (1400, 0));
    assert_eq!(lines.count("spans were not exported before the stop"), 1);
}

#[tokio::test]
async fn traces_that_are_dropped_are_exported_all_the_same() {
    let collector = Collector::start();
    let mut config = config(&collector);
    config.interval = Duration::from_secs(3600).into();
    let Traced { host, traces, .. } = Traced::start(&config).await;
    send(&host.handle()).await;
    assert!(host.stop().await.is_clean());
    drop(traces);
    assert_eq!(collector.spans(2).await.len(), 2);
}
