//! A receiver and a view of what it stored.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use poa_core::config::Secret;
use poa_core::{BuildContext, BuildError, DeliveryError, Message, Plugin, Receiver};
use poa_receiver_dynamo::{Config, DynamoDb};
use poa_testkit::Samples;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Longer than anything should ever take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The URL of the DynamoDB that all tests share.
pub(crate) fn shared() -> String {
    let cure = "run `cargo xtask test`, or `cargo xtask services` and set what it prints";
    std::env::var("POA_TEST_DYNAMODB")
        .unwrap_or_else(|_| panic!("POA_TEST_DYNAMODB is not set: {cure}"))
}

/// A unique table name.
pub(crate) fn unique_table() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = poa_core::Timestamp::now().as_micros();
    format!("poa-test-{}-{}-{now}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The configuration of a new table there.
pub(crate) fn config(url: &str) -> Config {
    Config::new(unique_table())
        .create_table()
        .region("us-east-1")
        .endpoint(url)
        .access_key("test", Secret::new("test"))
        .request_timeout(Duration::from_secs(30))
}

/// A client that looks at tables, and retries as the SDK does.
pub(crate) async fn client(url: &str) -> Client {
    let loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(Region::from_static("us-east-1"))
        .endpoint_url(url)
        .credentials_provider(Credentials::from_keys("test", "test", None));
    Client::new(&loader.load().await)
}

/// An item as people see it.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// All blocks in a table, by the sort key.
pub(crate) async fn items(client: &Client, table: &str) -> Vec<Item> {
    let query = client
        .query()
        .table_name(table)
        .key_condition_expression("msg_type = :block")
        .expression_attribute_values(":block", AttributeValue::S("block".into()))
        .consistent_read(true);
    query.into_paginator().items().send().collect::<Result<_, _>>().await.unwrap()
}

/// The text of an attribute.
pub(crate) fn text<'a>(item: &'a Item, name: &str) -> &'a str {
    item[name].as_s().unwrap()
}

/// The ids of the stored messages, by the sort key.
pub(crate) async fn ids(client: &Client, table: &str) -> Vec<String> {
    let items = items(client, table).await;
    items.iter().map(|item| text(item, "message_id").to_owned()).collect()
}

/// The block of an item, as JSON.
pub(crate) fn block(item: &Item) -> Value {
    to_json(&item["payload"].as_m().unwrap()["block"])
}

fn to_json(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => json!(text),
        AttributeValue::N(number) => serde_json::from_str(number).unwrap(),
        AttributeValue::Bool(flag) => json!(flag),
        AttributeValue::Null(_) => Value::Null,
        AttributeValue::L(items) => items.iter().map(to_json).collect(),
        AttributeValue::M(map) => {
            map.iter().map(|(name, value)| (name.clone(), to_json(value))).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// As a host does: builds again when DynamoDB did not answer in time, which happens to the impatient on a busy machine.
async fn build(config: &Config, cx: &BuildContext) -> DynamoDb {
    for _ in 0..20 {
        match DynamoDb::build(config.clone(), cx).await {
            Err(BuildError::Unavailable(..)) => {}
            built => return built.unwrap(),
        }
    }
    DynamoDb::build(config.clone(), cx).await.unwrap()
}

/// A receiver outside of any host, with a table of its own.
pub(crate) struct Subject {
    pub(crate) receiver: DynamoDb,
    pub(crate) samples: Samples,
    pub(crate) config: Config,
    pub(crate) cx: BuildContext,
    pub(crate) client: Client,
    data_dir: Arc<TempDir>,
}

impl Subject {
    pub(crate) async fn new() -> Self {
        Self::with(config(&shared())).await
    }

    /// The receiver of a new host with this configuration; the table is looked at directly.
    pub(crate) async fn with(config: Config) -> Self {
        Self::of_host(config, Arc::new(tempfile::tempdir().unwrap())).await
    }

    /// The receiver of the same host after a restart.
    pub(crate) async fn again(&self) -> Self {
        Self::of_host(self.config.clone(), self.data_dir.clone()).await
    }

    async fn of_host(config: Config, data_dir: Arc<TempDir>) -> Self {
        let cx = BuildContext::detached("blocks", data_dir.path());
        let receiver = build(&config, &cx).await;
        let client = client(&shared()).await;
        Self { receiver, samples: Samples::default(), config, cx, client, data_dir }
    }

    /// This many small blocks of one agent.
    pub(crate) fn blocks(&mut self, count: usize) -> Vec<Message> {
        (0..count).map(|number| self.block(&format!(r#"{{"number":{number}}}"#))).collect()
    }

    /// A block with this body.
    pub(crate) fn block(&mut self, body: &str) -> Message {
        let data = format!(r#"{{"type":"block","body":{body}}}"#);
        self.samples.json("a1", "ethereum_metrics", &data)
    }

    pub(crate) async fn store(&mut self, batch: &[Message]) {
        self.try_store(batch).await.unwrap();
    }

    pub(crate) async fn try_store(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        let call = self.receiver.metrics_received(batch);
        tokio::time::timeout(PATIENCE, call).await.expect("the call returns in time")
    }

    pub(crate) async fn items(&self) -> Vec<Item> {
        items(&self.client, &self.config.table).await
    }

    /// Panics unless just these messages are stored, each once and in this order.
    pub(crate) async fn assert_stored(&self, messages: &[Message]) {
        let wanted: Vec<_> = messages.iter().map(|message| message.id().to_string()).collect();
        assert_eq!(ids(&self.client, &self.config.table).await, wanted);
    }

    /// The value of a counter with this name.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        let text = self.cx.telemetry().encode();
        let line = format!("poa_receiver_{name}_total{{receiver=\"blocks\"}} ");
        let value = text.lines().find_map(|l| l.strip_prefix(&line));
        value.unwrap_or_else(|| panic!("{name} is not in\n{text}")).parse().unwrap()
    }
}

/// The text of an error that may not come again.
pub(crate) fn transient(result: Result<(), DeliveryError>) -> String {
    match result.unwrap_err() {
        DeliveryError::Transient { source, .. } => source.to_string(),
        error => panic!("{error:?}"),
    }
}

/// The items that an error blames, and its text.
pub(crate) fn permanent(result: Result<(), DeliveryError>) -> (Vec<usize>, String) {
    match result.unwrap_err() {
        DeliveryError::Permanent { items, source } => (items, source.to_string()),
        error => panic!("{error:?}"),
    }
}

/// Why a receiver with this configuration cannot be built.
pub(crate) async fn build_error(config: Config) -> BuildError {
    let data_dir = tempfile::tempdir().unwrap();
    DynamoDb::build(config, &BuildContext::detached("blocks", data_dir.path())).await.unwrap_err()
}

/// The text of an error that ends the start.
#[track_caller]
pub(crate) fn failed(error: BuildError) -> String {
    match error {
        BuildError::Failed(message, _) => message,
        error => panic!("{error:?} is not final"),
    }
}

/// The text of an error that may heal.
#[track_caller]
pub(crate) fn unavailable(error: BuildError) -> String {
    match error {
        BuildError::Unavailable(message, _) => message,
        error => panic!("{error:?} is final"),
    }
}
