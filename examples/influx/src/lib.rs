#![doc = include_str!("../README.md")]

mod client;
mod point;

use http::{HeaderValue, Uri};
use poa_core::config::{Duration, Problem, Secret};
use poa_core::{BuildContext, BuildError, DeliveryError, Message, Plugin, Receiver, async_trait};
use schemars::JsonSchema;
use serde::Deserialize;

use client::Influx;

/// The configuration section. These comments become the documentation of the keys.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The write address with its parameters, such as `http://127.0.0.1:8086/api/v2/write?org=ops&bucket=poa` for InfluxDB 2 and
    /// `http://127.0.0.1:8086/write?db=poa` for InfluxDB 1. `precision` is added.
    pub url: String,
    /// The API token. InfluxDB 1 takes `user:password`.
    pub token: Option<Secret>,
    /// The time limit of a write.
    #[serde(default = "default_request_timeout")]
    pub request_timeout: Duration,
}

fn default_request_timeout() -> Duration {
    Duration::from_secs(10)
}

impl Config {
    /// The defaults for this write address.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), token: None, request_timeout: default_request_timeout() }
    }

    fn uri(&self) -> Option<Uri> {
        let separator = if self.url.contains('?') { '&' } else { '?' };
        let uri: Uri = format!("{}{separator}precision=ns", self.url).parse().ok()?;
        uri.scheme_str().is_some_and(|scheme| matches!(scheme, "http" | "https")).then_some(uri)
    }

    fn authorization(&self) -> Option<Result<HeaderValue, http::header::InvalidHeaderValue>> {
        let token = self.token.as_ref()?;
        let mut value = HeaderValue::from_str(&format!("Token {}", token.expose()));
        if let Ok(value) = &mut value {
            value.set_sensitive(true);
        }
        Some(value)
    }
}

/// Writes messages to InfluxDB.
#[derive(Debug)]
pub struct InfluxReceiver(Influx);

#[async_trait]
impl Plugin for InfluxReceiver {
    type Config = Config;

    fn validate(config: &Config) -> Vec<Problem> {
        let mut problems = Vec::new();
        if config.uri().is_none() {
            let example = "http://127.0.0.1:8086/api/v2/write?org=ops&bucket=poa";
            let message =
                format!("`{}` is not a valid URL; write one such as \"{example}\"", config.url);
            problems.push(Problem::new("url", message));
        }
        if config.authorization().is_some_and(|value| value.is_err()) {
            problems
                .push(Problem::new("token", "contains a character that is not valid in a token"));
        }
        if config.request_timeout.get().is_zero() {
            problems.push(Problem::new("request_timeout", "must be greater than zero"));
        }
        problems
    }

    /// Does not connect: InfluxDB can be started later.
    async fn build(config: Config, _: &BuildContext) -> Result<Self, BuildError> {
        // An embedder's configuration has not passed `validate`.
        let uri = config.uri().ok_or_else(|| BuildError::failed("`url` is not a valid URL"))?;
        let authorization = config.authorization().transpose();
        let authorization = authorization
            .map_err(|error| BuildError::failed("`token` is not valid").with_source(error))?;
        Ok(Self(Influx::new(uri, authorization, config.request_timeout.get())?))
    }
}

#[async_trait]
impl Receiver for InfluxReceiver {
    /// Cancel safe: a point that is written again replaces itself.
    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        let mut lines = String::new();
        let mut malformed = Vec::new();
        let mut cause = None;
        for (index, message) in batch.iter().enumerate() {
            if let Err(error) = point::append(&mut lines, message) {
                malformed.push(index);
                cause = Some(error);
            }
        }
        if !lines.is_empty() {
            self.0.write(lines).await?;
        }
        match cause {
            None => Ok(()),
            Some(error) => Err(DeliveryError::permanent_for(malformed, error)),
        }
    }
}
