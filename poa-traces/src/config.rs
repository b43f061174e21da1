//! The settings of traces: the table `[traces]` of a configuration file.

use std::collections::BTreeMap;

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use poa_core::config::{Duration, Problem, Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The address of a collector on this machine.
const LOCAL_COLLECTOR: &str = "http://127.0.0.1:4318/v1/traces";

/// Headers that the export sets itself.
const OWN_HEADERS: [HeaderName; 4] = [CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST];

/// Traces of the way of messages, for OpenTelemetry collectors. Off unless this table is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Config {
    /// The URL of a collector, to which spans are sent in the protocol OTLP over HTTP. Jaeger, Tempo and the OpenTelemetry Collector listen on
    /// port 4318 for it.
    pub endpoint: String,
    /// The share of messages that are traced, from 0.0 to 1.0. Which ones follows from their ids, so all nodes of a cluster trace the same
    /// messages if they have the same share.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub sample: f64,
    /// Headers of the requests, by name, such as `authorization`. Their values are never shown.
    pub headers: BTreeMap<String, Secret>,
    /// The name of the service in traces.
    pub service_name: String,
    /// Further attributes of the service in traces, such as `deployment.environment.name`.
    pub attributes: BTreeMap<String, String>,
    /// The compression of the requests.
    pub compression: Compression,
    /// The longest time that a span waits for others, to be sent together.
    pub interval: Duration,
    /// The time limit of a request.
    pub timeout: Duration,
}

/// The compression of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Compression {
    /// For a collector on the same machine.
    #[default]
    None,
    /// About a tenth of the bytes, for a collector far away.
    Gzip,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            endpoint: LOCAL_COLLECTOR.to_owned(),
            sample: 0.01,
            headers: BTreeMap::new(),
            service_name: "poa".to_owned(),
            attributes: BTreeMap::new(),
            compression: Compression::None,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(10),
        }
    }
}

impl Config {
    /// Reports the values that cannot work, by their keys. Connects to nothing.
    #[must_use]
    pub fn validate(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        problems.extend(self.endpoint().err().map(|message| Problem::new("endpoint", message)));
        if !(0.0..=1.0).contains(&self.sample) {
            let message =
                format!("`{}` is not a share; write a number from 0.0 to 1.0", self.sample);
            problems.push(Problem::new("sample", message));
        }
        for (name, value) in &self.headers {
            let problem = header(name, value).err();
            problems.extend(problem.map(|why| of_header(name, why)));
        }
        if self.service_name.is_empty() {
            problems.push(Problem::new("service_name", "is empty; leave it out for \"poa\""));
        }
        for (key, time) in [("interval", self.interval), ("timeout", self.timeout)] {
            if time.get().is_zero() {
                problems.push(Problem::new(key, "must be greater than zero"));
            }
        }
        problems
    }

    /// The URL of the collector.
    ///
    /// # Errors
    /// Why it is not usable, and the cure.
    pub(crate) fn endpoint(&self) -> Result<Uri, String> {
        let written = &self.endpoint;
        let invalid =
            || format!("`{written}` is not a valid URL; write one such as \"{LOCAL_COLLECTOR}\"");
        let uri: Uri = written.parse().map_err(|_| invalid())?;
        let authority = uri.authority().ok_or_else(invalid)?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || authority.host().is_empty() {
            return Err(invalid());
        }
        if authority.as_str().contains('@') {
            return Err("must not contain a user or password; send them as a header, such as \
                        headers = { authorization = \"${env:OTLP_AUTHORIZATION}\" }"
                .to_owned());
        }
        if uri.path() == "/" {
            let base = written.trim_end_matches('/');
            return Err(format!("`{written}` has no path; write \"{base}/v1/traces\""));
        }
        Ok(uri)
    }

    /// The headers of each request.
    ///
    /// # Errors
    /// The first that is not usable, and why.
    pub(crate) fn header_map(&self) -> Result<HeaderMap, Problem> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let valid = header(name, value);
            let (name, value) = valid.map_err(|why| of_header(name, why))?;
            headers.insert(name, value);
        }
        Ok(headers)
    }
}

/// Names may contain dots, so that they are not parts of a path.
fn of_header(name: &str, why: String) -> Problem {
    Problem::new("", why).under(name).under("headers")
}

/// A header from its parts. Its value is left out of the debug output of requests.
fn header(name: &str, value: &Secret) -> Result<(HeaderName, HeaderValue), String> {
    let invalid = |_| format!("`{name}` is not a valid name of a header");
    let header: HeaderName = name.parse().map_err(invalid)?;
    if OWN_HEADERS.contains(&header) {
        return Err("is set by poa; remove it".to_owned());
    }
    let Ok(mut value) = HeaderValue::from_str(value.expose()) else {
        return Err("contains a character that is not valid in a header".to_owned());
    };
    value.set_sensitive(true);
    Ok((header, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(change: impl FnOnce(&mut Config)) -> Vec<(String, String)> {
        let mut config = Config::default();
        change(&mut config);
        config
            .validate()
            .into_iter()
            .map(|problem| (problem.path.join("."), problem.message))
            .collect()
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(problems(|_| ()), []);
    }

    #[test]
    fn problems_name_the_cure() {
        for (endpoint, cure) in [
            ("127.0.0.1:4318", "write one such as \"http://127.0.0.1:4318/v1/traces\""),
            ("ftp://a/v1/traces", "write one such as"),
            ("http:///v1/traces", "write one such as"),
            ("http://a:4318", "write \"http://a:4318/v1/traces\""),
            ("http://a:4318/", "write \"http://a:4318/v1/traces\""),
            ("http://me:hunter2@a/v1/traces", "send them as a header"),
        ] {
            let found = problems(|config| config.endpoint = endpoint.to_owned());
            let [(path, message)] = &found[..] else { panic!("{endpoint}: {found:?}") };
            assert!(path == "endpoint" && message.contains(cure), "{endpoint}: {message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
        for sample in [-0.1, 1.5, f64::NAN] {
            let found = problems(|config| config.sample = sample);
            assert_eq!(found[0].0, "sample");
        }
        let found = problems(|config| {
            for (name, value) in
                [("bad name", "x"), ("content-type", "x"), ("x-key", "line\nfeed"), ("x-ok", "x")]
            {
                config.headers.insert(name.to_owned(), Secret::new(value));
            }
            config.interval = Duration::from_secs(0);
        });
        let paths: Vec<_> = found.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(
            paths,
            ["headers.bad name", "headers.content-type", "headers.x-key", "interval"]
        );
        assert!(found.iter().all(|(_, message)| !message.contains("feed")), "{found:?}");
    }

    #[test]
    fn headers_are_never_shown() {
        let mut config = Config::default();
        config.headers.insert("authorization".to_owned(), Secret::new("Bearer hunter2"));
        let headers = config.header_map().unwrap();
        assert_eq!(headers["authorization"], "Bearer hunter2");
        let shown = format!("{config:?} {headers:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
