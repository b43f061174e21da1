//! Items stored per second through the receiver, against BatchWriteItem alone of the same items by the same SDK.

use std::path::Path;
use std::time::{Duration, Instant};

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use futures_util::TryStreamExt as _;
use poa_core::config::Secret;
use poa_core::{BuildContext, Message, Plugin as _, Receiver as _};
use poa_receiver_dynamo::{Config, DynamoDb};
use poa_testkit::Samples;

use crate::Failure;
use crate::report::{median, table};

/// Items in a round.
const ITEMS: usize = 5000;
/// Messages in a batch; what the server gives a receiver by default.
const BATCH: usize = 1000;
const ROUNDS: usize = 7;
/// As in the receiver.
const IN_FLIGHT: usize = 8;

/// A block of about the size that agents send.
const BLOCK: &str = include_str!("block.json");

pub(crate) fn run() -> Result<(), Failure> {
    let url = std::env::var("POA_TEST_DYNAMODB").map_err(
        |_| "set POA_TEST_DYNAMODB to the URL of a DynamoDB, or run `cargo xtask bench dynamo`",
    )?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure(&url))
}

async fn measure(url: &str) -> Result<(), Failure> {
    let client = client(url).await;
    let (mut receiver, mut alone) = (Vec::new(), Vec::new());
    let data_dir = tempfile::tempdir()?;
    let data_dir = data_dir.path();
    // The first round fills caches and lets the server's compiler warm up.
    for round in 0..=ROUNDS {
        let batch = messages();
        let name = table_name(round);
        let seconds = through_receiver(url, &name, data_dir, &batch).await?.as_secs_f64();
        let items = items(&client, &name).await?;
        if items.len() != ITEMS {
            return Err(format!("{} of {ITEMS} items are stored", items.len()).into());
        }
        // The table is created again for each run, so that both write to one of the same size.
        client.delete_table().table_name(&name).send().await?;
        build(url, &name, data_dir).await?;
        let seconds_alone = batch_write(&client, &name, items).await?.as_secs_f64();
        client.delete_table().table_name(&name).send().await?;
        if round > 0 {
            receiver.push(ITEMS as f64 / seconds);
            alone.push(ITEMS as f64 / seconds_alone);
        }
    }
    report(receiver, alone);
    Ok(())
}

fn report(receiver: Vec<f64>, alone: Vec<f64>) {
    println!("Blocks into DynamoDB Local, {ITEMS} in a round, medians of {ROUNDS}\n");
    // Rounds differ more than the two runs of a round.
    let ratio = receiver.iter().zip(&alone).map(|(receiver, alone)| receiver / alone).collect();
    let row = |name: &str, rate: Vec<f64>, ratio: f64| {
        vec![name.to_owned(), format!("{:.0}", median(rate)), format!("{ratio:.2}")]
    };
    table(
        &["what", "items/s", "of the yardstick"],
        &[
            row("BatchWriteItem alone", alone, 1.0),
            row("`poa-receiver-dynamo`", receiver, median(ratio)),
        ],
    );
}

fn messages() -> Vec<Message> {
    let mut samples = Samples::from_now();
    let data = format!(r#"{{"type":"block","body":{}}}"#, BLOCK.trim());
    (0..ITEMS).map(|_| samples.json("agent", "ethereum_metrics", &data)).collect()
}

fn table_name(round: usize) -> String {
    format!("poa-bench-{}-{round}", std::process::id())
}

async fn build(url: &str, table: &str, data_dir: &Path) -> Result<DynamoDb, Failure> {
    let config = Config::new(table)
        .create_table()
        .region("us-east-1")
        .endpoint(url)
        .access_key("bench", Secret::new("bench"))
        .request_timeout(Duration::from_secs(60));
    Ok(DynamoDb::build(config, &BuildContext::detached("blocks", data_dir)).await?)
}

async fn through_receiver(
    url: &str,
    table: &str,
    data_dir: &Path,
    messages: &[Message],
) -> Result<Duration, Failure> {
    let mut receiver = build(url, table, data_dir).await?;
    let begin = Instant::now();
    for batch in messages.chunks(BATCH) {
        receiver.metrics_received(batch).await?;
    }
    Ok(begin.elapsed())
}

/// Writes prepared items, and does nothing else.
async fn batch_write(
    client: &Client,
    table: &str,
    items: Vec<WriteRequest>,
) -> Result<Duration, Failure> {
    let chunks: Vec<Vec<_>> = items.chunks(25).map(<[_]>::to_vec).collect();
    let begin = Instant::now();
    let requests =
        chunks.into_iter().map(|chunk| client.batch_write_item().request_items(table, chunk));
    let sent = futures_util::stream::iter(requests.map(|request| Ok::<_, Failure>(request.send())));
    let written = sent.try_for_each_concurrent(IN_FLIGHT, async |request| {
        let left = request.await?.unprocessed_items.unwrap_or_default();
        if left.is_empty() { Ok(()) } else { Err("items are left unprocessed".into()) }
    });
    written.await?;
    Ok(begin.elapsed())
}

async fn items(client: &Client, table: &str) -> Result<Vec<WriteRequest>, Failure> {
    let query = client
        .query()
        .table_name(table)
        .key_condition_expression("msg_type = :block")
        .expression_attribute_values(":block", AttributeValue::S("block".into()));
    let mut pages = query.into_paginator().items().send();
    let mut items = Vec::new();
    while let Some(item) = pages.next().await {
        let put = PutRequest::builder().set_item(Some(item?)).build()?;
        items.push(WriteRequest::builder().put_request(put).build());
    }
    Ok(items)
}

async fn client(url: &str) -> Client {
    let loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(Region::from_static("us-east-1"))
        .endpoint_url(url)
        .credentials_provider(Credentials::from_keys("bench", "bench", None));
    Client::new(&loader.load().await)
}
