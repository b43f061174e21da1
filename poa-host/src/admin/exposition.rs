//! The two formats of `/metrics`: what a scraper asks for decides.

use std::collections::HashSet;

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

/// OpenMetrics 1.0, which ends in `# EOF`.
pub(super) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The text format of Prometheus, which every scraper and `promtool` read.
pub(super) const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";
pub(super) const END: &str = "# EOF\n";

/// Whether a scraper asks for OpenMetrics. Quality values are not compared: those that name it prefer it.
pub(super) fn wants_open_metrics(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut kinds = accepted.flat_map(|value| value.split(','));
    kinds.any(|kind| {
        let mut parts = kind.split(';').map(str::trim);
        let is_named = parts.next().is_some_and(|name| name == "application/openmetrics-text");
        is_named && parts.all(|part| part != "q=0")
    })
}

/// The text format of metrics that are written as OpenMetrics. There, a family of counters has the name without `_total`; here with it.
pub(super) fn plain(open_metrics: &str) -> String {
    let typed = open_metrics.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let counters: HashSet<&str> =
        typed.filter_map(|typed| typed.strip_suffix(" counter")).collect();
    let mut text = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines().filter(|line| *line != END.trim_end()) {
        match family(line).filter(|(_, name, _)| counters.contains(name)) {
            Some((word, name, rest)) => text.extend([word, name, "_total ", rest]),
            None => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

/// `# HELP `, the name and the rest of a line about a family.
fn family(line: &str) -> Option<(&str, &str, &str)> {
    let word = ["# HELP ", "# TYPE "].into_iter().find(|word| line.starts_with(word))?;
    let (name, rest) = line[word.len()..].split_once(' ')?;
    Some((word, name, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(accept: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        wants_open_metrics(&headers)
    }

    #[test]
    fn those_who_name_open_metrics_get_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert!(wants(prometheus));
        assert!(wants("application/openmetrics-text"));
        for plain in ["*/*", "text/plain", "text/html, */*", "application/openmetrics-text; q=0"] {
            assert!(!wants(plain), "{plain}");
        }
        assert!(!wants_open_metrics(&HeaderMap::new()));
    }

    #[test]
    fn a_family_of_counters_has_the_name_of_its_series() {
        let open = "# HELP poa_a What is counted.\n# TYPE poa_a counter\npoa_a_total{x=\"1\"} 3\n\
            # HELP poa_b What is.\n# TYPE poa_b gauge\npoa_b 5\n# EOF\n";
        assert_eq!(
            plain(open),
            "# HELP poa_a_total What is counted.\n# TYPE poa_a_total counter\npoa_a_total{x=\"1\"} 3\n\
             # HELP poa_b What is.\n# TYPE poa_b gauge\npoa_b 5\n"
        );
    }
}
