//! The yardsticks: async-nats alone, with a stream as poa makes it.

use std::time::{Duration, Instant};

use async_nats::{Client, ConnectOptions, HeaderMap, Request};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use poa_test_nats::Servers;
use serde_json::{Value, json};

use super::node::{BODY, TYPE};
use crate::Failure;

/// The partitions of a stream of poa.
pub(super) const PARTITIONS: u16 = 16;
/// As many as the client may keep: a reader that is not as fast must not lose any.
const CAPACITY: usize = 1 << 22;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client without poa.
pub(super) struct Raw(Client);

impl Raw {
    pub(super) async fn connect(servers: &Servers) -> Result<Self, Failure> {
        let options = ConnectOptions::new().subscription_capacity(CAPACITY);
        Ok(Self(options.connect(servers.urls()).await?))
    }

    async fn api(&self, subject: &str, body: &Value) -> Result<Value, Failure> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.0.request(format!("$JS.API.{subject}"), body.into()).await?;
        let answer: Value = serde_json::from_slice(&answer.payload)?;
        match &answer["error"] {
            Value::Null => Ok(answer),
            error => Err(format!("{subject}: {error}").into()),
        }
    }

    /// Creates a stream with the subjects below its name in lower case.
    pub(super) async fn create(&self, stream: &str) -> Result<(), Failure> {
        let config = json!({
            "name": stream,
            "subjects": [format!("{}.>", stream.to_lowercase())],
            "retention": "limits",
            "discard": "new",
            "storage": "file",
            "num_replicas": 3,
            "max_bytes": 8_u64 << 30,
            "duplicate_window": 120_000_000_000_u64,
            "allow_direct": true,
            "deny_delete": true,
        });
        self.api(&format!("STREAM.CREATE.{stream}"), &config).await.map(drop)
    }

    pub(super) async fn delete(&self, stream: &str) -> Result<(), Failure> {
        self.api(&format!("STREAM.DELETE.{stream}"), &Value::Null).await.map(drop)
    }

    /// The server that leads a stream.
    pub(super) async fn leader(&self, stream: &str) -> Result<String, Failure> {
        let info = self.api(&format!("STREAM.INFO.{stream}"), &Value::Null).await?;
        Ok(info["cluster"]["leader"].as_str().ok_or("the stream has no leader")?.to_owned())
    }

    /// Publishes so many messages, so many at a time, with an id each or without. Returns messages per second.
    pub(super) async fn publish(
        &self,
        stream: &str,
        messages: usize,
        in_flight: usize,
        ids: bool,
    ) -> Result<f64, Failure> {
        let prefix = stream.to_lowercase();
        let body = Bytes::from(vec![b'x'; BODY]);
        let begin = Instant::now();
        let one = |number: usize| {
            let mut request = Request::new().payload(body.clone()).timeout(Some(PATIENCE));
            if ids {
                let mut headers = HeaderMap::new();
                headers.insert("Nats-Msg-Id", format!("{number:x}"));
                request = request.headers(headers);
            }
            let subject = format!("{prefix}.{}", number % usize::from(PARTITIONS));
            async move {
                let answer = self.0.send_request(subject, request).await?;
                let answer: Value = serde_json::from_slice(&answer.payload)?;
                match answer["seq"].as_u64() {
                    Some(_) => Ok::<_, Failure>(()),
                    None => Err(answer.to_string().into()),
                }
            }
        };
        let sent = futures_util::stream::iter(0..messages).map(one).buffer_unordered(in_flight);
        sent.try_collect::<()>().await?;
        Ok(messages as f64 / begin.elapsed().as_secs_f64())
    }

    /// Reads so many messages of a stream of poa by a consumer of this name, with the filters of a receiver that holds everything. Returns
    /// messages per second, from the first to the last.
    pub(super) async fn read(
        &self,
        prefix: &str,
        name: &str,
        messages: usize,
    ) -> Result<f64, Failure> {
        let stream = prefix.to_uppercase();
        let inbox = self.0.new_inbox();
        let mut arriving = self.0.subscribe(inbox.clone()).await?;
        let of = |partition: u16| {
            let of = format!("{prefix}.p.{partition}");
            [format!("{of}.m.{TYPE}"), format!("{of}.a")]
        };
        let filters: Vec<_> = (0..PARTITIONS).flat_map(of).collect();
        let config = json!({
            "name": name,
            "deliver_subject": inbox,
            "ack_policy": "none",
            "replay_policy": "instant",
            "deliver_policy": "all",
            "filter_subjects": filters,
            "num_replicas": 1,
            "mem_storage": true,
        });
        let body = json!({ "stream_name": stream, "config": config, "action": "create" });
        self.api(&format!("CONSUMER.CREATE.{stream}.{name}"), &body).await?;
        let mut begin = Instant::now();
        for number in 0..messages {
            let next = tokio::time::timeout(PATIENCE, arriving.next()).await;
            next?.ok_or("the connection has ended")?;
            if number == 0 {
                begin = Instant::now();
            }
        }
        let took = begin.elapsed();
        self.api(&format!("CONSUMER.DELETE.{stream}.{name}"), &Value::Null).await?;
        Ok(messages as f64 / took.as_secs_f64())
    }
}
