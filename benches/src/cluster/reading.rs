//! Reading, and the price of one more receiver.

use std::time::Instant;

use poa_core::engine::Engine as _;
use poa_test_nats::Servers;
use tokio::task::JoinSet;

use super::Rate;
use super::node::{Node, config, receive};
use super::publish::{register, send, streams};
use super::raw::Raw;
use crate::Failure;
use crate::report::median;

/// How many messages are in flight while receivers read.
const IN_FLIGHT: usize = 1024;
/// How often each reader reads in a round. Single reads of the same reader differ by a factor of up to three: the servers choose which of them
/// serves a consumer, the one that the reader is connected to or another.
const READS: usize = 5;

pub(super) async fn round(
    servers: &Servers,
    raw: &Raw,
    messages: usize,
) -> Result<Vec<Rate>, Failure> {
    // With a key, each message is one of JetStream, so that both readers read as many.
    let prefix = "read";
    register(servers, prefix).await?;
    let node = Node::start(config(servers, prefix), "publisher").await?;
    send(&node, messages, IN_FLIGHT, true).await?;
    node.finish().await;
    let (mut by_raw, mut by_poa) = (Vec::new(), Vec::new());
    for number in 0..READS {
        by_raw.push(raw.read(prefix, &format!("raw{number}"), messages).await?);
        by_poa.push(read(servers, prefix, &format!("reader{number}"), messages).await?);
    }
    clear(raw, prefix).await?;
    let (one, two) =
        (with(servers, raw, 1, messages).await?, with(servers, raw, 2, messages).await?);
    // Places of the yardsticks among all rates of the round: those of publishing come first.
    const BEFORE: usize = 8;
    let rate = |what: &str, rate, of| Rate { what: what.to_owned(), rate, of: BEFORE + of };
    Ok(vec![
        rate("an AckNone consumer of async-nats reads", median(by_raw), 0),
        rate("a receiver of poa reads, its cursors written", median(by_poa), 0),
        rate("poa publishes without ids while one receiver reads", one, 2),
        rate("poa publishes without ids while two receivers read", two, 2),
    ])
}

async fn clear(raw: &Raw, prefix: &str) -> Result<(), Failure> {
    for stream in streams(prefix) {
        raw.delete(&stream).await?;
    }
    Ok(())
}

/// From the first batch on: it is not the time to acquire leases that is measured.
async fn read(
    servers: &Servers,
    prefix: &str,
    receiver: &str,
    messages: usize,
) -> Result<f64, Failure> {
    let node = Node::build(config(servers, prefix), "reader").await?;
    let subscription = node.subscribe(receiver).await?;
    node.engine.start().await?;
    let first = subscription.next_batch(&poa_core::BatchLimits::default()).await;
    let first = first.ok_or("the engine was closed")?.len();
    subscription.confirm(&[]);
    let begin = Instant::now();
    receive(&*subscription, messages.saturating_sub(first)).await?;
    let rate = (messages - first.min(messages)) as f64 / begin.elapsed().as_secs_f64();
    node.finish().await;
    Ok(rate)
}

/// The rate of a publisher while so many receivers of another node keep up.
async fn with(
    servers: &Servers,
    raw: &Raw,
    receivers: usize,
    messages: usize,
) -> Result<f64, Failure> {
    let prefix = format!("more{receivers}");
    let reader = Node::build(config(servers, &prefix), "reader").await?;
    let mut reading = JoinSet::new();
    for number in 0..receivers {
        let subscription = reader.subscribe(&format!("receiver-{number}")).await?;
        reading.spawn(async move { receive(&*subscription, messages).await });
    }
    reader.engine.start().await?;
    let node = Node::start(config(servers, &prefix), "publisher").await?;
    let rate = send(&node, messages, IN_FLIGHT, false).await?;
    while let Some(read) = reading.join_next().await {
        read??;
    }
    node.finish().await;
    reader.finish().await;
    clear(raw, &prefix).await?;
    Ok(rate)
}
