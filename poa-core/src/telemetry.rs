//! Counters, gauges and histograms of one host, in the Prometheus text format.

mod text;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::metrics::histogram::Histogram;

type Labels = Vec<(String, String)>;
type Histograms = Family<Labels, Histogram, fn() -> Histogram>;
type Source = Arc<dyn Fn() -> String + Send + Sync>;

/// The last line of a text of metrics.
const END: &str = "# EOF\n";

/// The bounds of the buckets of every histogram, in seconds: 100 µs to 30 s.
const SECONDS: [f64; 16] = [
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    10.0, 30.0,
];

/// The content type of a text of metrics: OpenMetrics 1.0.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One text of several, for a scrape of a process with several hosts: each family in one place, one end. Lines that are not in the
/// format are left out.
///
/// Give each host a [name](crate::HostBuilder::name), so that its metrics carry the label `host`.
///
/// ```
/// use poa_core::telemetry::{Telemetry, merge};
///
/// let hosts = ["north", "south"].map(|name| {
///     let telemetry = Telemetry::of_host(name);
///     telemetry.counter("requests", "Requests", &[]).inc();
///     telemetry.encode()
/// });
/// let text = merge(hosts);
/// assert!(text.contains("poa_requests_total{host=\"north\"} 1\npoa_requests_total{host=\"south\"} 1\n"));
/// assert_eq!(text.matches("# EOF").count(), 1);
/// ```
#[must_use]
pub fn merge<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> String {
    let mut families = text::Families::default();
    texts.into_iter().for_each(|text| families.add(text.as_ref()));
    families.into_text()
}

/// The metrics of one host. Cloning is cheap: clones share them.
///
/// Asking twice for the same name and labels returns the same metric, so a restarted plugin continues to count where it was. Ask once
/// and keep the metric: asking takes a lock, counting does not.
///
/// ```
/// use poa_core::telemetry::Telemetry;
///
/// // A plugin takes it from its context, and keeps the metrics.
/// let telemetry = Telemetry::default();
/// let requests = telemetry.counter("requests", "Requests received", &[("handler", "lines")]);
/// let wait = telemetry.histogram("wait_seconds", "Time to the answer", &[]);
/// requests.inc();
/// wait.observe(0.003);
/// assert!(telemetry.encode().contains(r#"poa_requests_total{handler="lines"} 1"#));
/// ```
#[derive(Clone, Default)]
pub struct Telemetry(Arc<Mutex<Metrics>>);

#[derive(Default)]
struct Metrics {
    registry: Registry,
    counters: HashMap<String, Family<Labels, Counter>>,
    gauges: HashMap<String, Gauges>,
    histograms: HashMap<String, Histograms>,
    sources: BTreeMap<String, Source>,
}

/// The gauges of one name.
#[derive(Default)]
struct Gauges {
    family: Family<Labels, Gauge>,
    known: HashSet<Labels>,
}

impl Gauges {
    fn get(&mut self, labels: Labels) -> Gauge {
        let gauge = self.family.get_or_create(&labels).clone();
        self.known.insert(labels);
        gauge
    }

    fn retain(&mut self, keep: impl Fn(&Labels) -> bool) {
        for gone in self.known.extract_if(|labels| !keep(labels)) {
            self.family.remove(&gone);
        }
    }
}

impl Telemetry {
    /// Metrics that carry the label `host` with this value.
    #[must_use]
    pub fn of_host(name: &str) -> Self {
        let labels = [("host".into(), name.to_owned().into())];
        let registry = Registry::with_labels(labels.into_iter());
        Self(Arc::new(Mutex::new(Metrics { registry, ..Metrics::default() })))
    }

    /// A number that only grows. `name` gets the prefix `poa_` and the suffix `_total`.
    #[must_use]
    pub fn counter(&self, name: &str, help: &str, labels: &[(&str, &str)]) -> Counter {
        let Metrics { registry, counters, .. } = &mut *self.0.lock();
        let family = counters.entry(name.to_owned()).or_insert_with(|| {
            let family = Family::default();
            registry.register(format!("poa_{name}"), help, family.clone());
            family
        });
        family.get_or_create(&owned(labels)).clone()
    }

    /// A number that goes up and down. `name` gets the prefix `poa_`.
    #[must_use]
    pub fn gauge(&self, name: &str, help: &str, labels: &[(&str, &str)]) -> Gauge {
        let Metrics { registry, gauges, .. } = &mut *self.0.lock();
        let gauges = gauges.entry(name.to_owned()).or_insert_with(|| {
            let gauges = Gauges::default();
            registry.register(format!("poa_{name}"), help, gauges.family.clone());
            gauges
        });
        gauges.get(owned(labels))
    }

    /// Removes the gauges of a plugin that is gone: those with this label. What counts stays, since a number that only grows must not
    /// fall when the plugin comes back.
    pub(crate) fn forget_gauges_of(&self, label: &str, value: &str) {
        let keep = |labels: &Labels| !labels.iter().any(|(l, v)| l == label && v == value);
        self.0.lock().gauges.values_mut().for_each(|gauges| gauges.retain(keep));
    }

    /// Removes what describes the state of an earlier host: gauges and other sources. What counts stays.
    pub(crate) fn forget_state(&self) {
        let mut metrics = self.0.lock();
        metrics.gauges.values_mut().for_each(|gauges| gauges.retain(|_| false));
        metrics.sources.clear();
    }

    /// A distribution of durations in seconds. `name` gets the prefix `poa_`; let it end in `_seconds`.
    #[must_use]
    pub fn histogram(&self, name: &str, help: &str, labels: &[(&str, &str)]) -> Histogram {
        let Metrics { registry, histograms, .. } = &mut *self.0.lock();
        let family = histograms.entry(name.to_owned()).or_insert_with(|| {
            let family =
                Family::new_with_constructor((|| Histogram::new(SECONDS)) as fn() -> Histogram);
            registry.register(format!("poa_{name}"), help, family.clone());
            family
        });
        family.get_or_create(&owned(labels)).clone()
    }

    /// Includes metrics from another source: text in the OpenMetrics format, requested at each scrape. Lines that are not in that
    /// format are left out, because they would make the whole text unreadable. A source replaces an earlier one of the same name.
    pub fn include(&self, name: &str, source: impl Fn() -> String + Send + Sync + 'static) {
        self.0.lock().sources.insert(name.to_owned(), Arc::new(source));
    }

    /// All metrics as text, for a scrape.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        let metrics = self.0.lock();
        prometheus_client::encoding::text::encode(&mut text, &metrics.registry)
            .expect("writing to a String does not fail");
        let sources: Vec<_> = metrics.sources.values().cloned().collect();
        // A source may request a metric of its own.
        drop(metrics);
        if sources.is_empty() {
            return text;
        }
        merge(std::iter::once(text).chain(sources.into_iter().map(|source| source())))
    }
}

fn owned(labels: &[(&str, &str)]) -> Labels {
    labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Telemetry")
    }
}

#[cfg(test)]
mod tests {
    use super::Telemetry;

    #[test]
    fn includes_metrics_of_other_sources() {
        let telemetry = Telemetry::default();
        telemetry.counter("requests", "Requests", &[("handler", "a")]).inc();
        let other = Telemetry::default();
        other.counter("requests", "Requests", &[("handler", "b")]).inc();
        telemetry.include("other", move || other.encode());
        let text = telemetry.encode();
        assert!(text.contains(r#"poa_requests_total{handler="b"} 1"#), "{text}");
        assert_eq!(text.matches("# TYPE poa_requests ").count(), 1, "{text}");
        assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1, "{text}");
    }

    #[test]
    fn what_is_gone_has_no_gauge_and_keeps_its_counts() {
        let telemetry = Telemetry::default();
        let depth = |receiver: &str| telemetry.gauge("depth", "Depth", &[("receiver", receiver)]);
        let stored = |receiver| telemetry.counter("stored", "Stored", &[("receiver", receiver)]);
        for receiver in ["a", "b"] {
            depth(receiver).set(7);
            stored(receiver).inc();
        }
        telemetry.include("other", || "# TYPE other gauge\nother 1\n# EOF\n".to_owned());
        telemetry.forget_gauges_of("receiver", "a");
        let text = telemetry.encode();
        assert!(!text.contains(r#"poa_depth{receiver="a"}"#), "{text}");
        assert!(text.contains(r#"poa_depth{receiver="b"} 7"#), "{text}");
        assert!(text.contains(r#"poa_stored_total{receiver="a"} 1"#), "{text}");
        telemetry.forget_state();
        let text = telemetry.encode();
        assert!(!text.contains(r#"receiver="b"} 7"#) && !text.contains("other"), "{text}");
        depth("a").set(1);
        stored("a").inc();
        let text = telemetry.encode();
        assert!(text.contains(r#"poa_depth{receiver="a"} 1"#), "{text}");
        assert!(text.contains(r#"poa_stored_total{receiver="a"} 2"#), "{text}");
    }

    #[test]
    fn same_name_and_labels_is_the_same_metric() {
        let telemetry = Telemetry::default();
        telemetry.counter("requests", "Requests", &[("handler", "a")]).inc();
        telemetry.counter("requests", "Requests", &[("handler", "a")]).inc();
        telemetry.counter("requests", "Requests", &[("handler", "b")]).inc();
        telemetry.gauge("depth", "Depth", &[]).set(7);
        telemetry.histogram("wait_seconds", "Wait", &[]).observe(0.2);
        let text = telemetry.encode();
        assert!(text.contains(r#"poa_requests_total{handler="a"} 2"#), "{text}");
        assert!(text.contains(r#"poa_requests_total{handler="b"} 1"#), "{text}");
        assert!(
            text.contains("poa_depth{} 7") && text.contains("poa_wait_seconds_count{} 1"),
            "{text}"
        );
        assert_eq!(text.matches("# TYPE poa_requests ").count(), 1, "{text}");
    }
}
