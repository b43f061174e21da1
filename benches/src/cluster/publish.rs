//! Publishing, with idempotency keys and without.

use std::time::Instant;

use futures_util::{StreamExt as _, TryStreamExt as _};
use poa_core::engine::Engine as _;
use poa_test_nats::Servers;

use super::Rate;
use super::node::{Node, config};
use super::raw::Raw;
use crate::Failure;

/// How many messages are in flight.
const IN_FLIGHT: [usize; 2] = [64, 1024];

/// The names of the streams of this round, which are gone after it.
const RAW: &str = "RAW";
const POA: &str = "pub";

/// One round. The two sides of a comparison follow each other.
pub(super) async fn round(
    servers: &Servers,
    raw: &Raw,
    messages: usize,
) -> Result<Vec<Rate>, Failure> {
    let mut rates: Vec<Rate> = Vec::new();
    for in_flight in IN_FLIGHT {
        for keyed in [true, false] {
            let of = rates.len();
            let mut add = |who: &str, rate| {
                let with = if keyed { "with ids" } else { "without ids" };
                let what = format!("{who} {with}, {in_flight} in flight");
                rates.push(Rate { what, rate, of });
            };
            raw.create(RAW).await?;
            let rate = raw.publish(RAW, messages, in_flight, keyed).await;
            raw.delete(RAW).await?;
            add("async-nats publishes", rate?);
            add("poa publishes", through_poa(servers, raw, messages, in_flight, keyed).await?);
        }
    }
    Ok(rates)
}

async fn through_poa(
    servers: &Servers,
    raw: &Raw,
    messages: usize,
    in_flight: usize,
    keyed: bool,
) -> Result<f64, Failure> {
    let prefix = format!("{POA}{}", u64::from(keyed) + 2 * in_flight as u64);
    register(servers, &prefix).await?;
    let node = Node::start(config(servers, &prefix), "publisher").await?;
    let rate = send(&node, messages, in_flight, keyed).await;
    node.finish().await;
    for stream in streams(&prefix) {
        raw.delete(&stream).await?;
    }
    rate
}

/// Makes a receiver known that no node runs: without one, a message is acknowledged without being published.
pub(super) async fn register(servers: &Servers, prefix: &str) -> Result<(), Failure> {
    let node = Node::build(config(servers, prefix), "absent").await?;
    let receiver = node.subscribe("absent").await?;
    node.engine.start().await?;
    drop(receiver);
    node.finish().await;
    Ok(())
}

/// Sends so many messages, so many at a time. Returns messages per second.
pub(super) async fn send(
    node: &Node,
    messages: usize,
    in_flight: usize,
    keyed: bool,
) -> Result<f64, Failure> {
    let begin = Instant::now();
    let sent = futures_util::stream::iter(0..messages).map(|number| node.send(number, keyed));
    sent.buffer_unordered(in_flight).try_collect::<()>().await?;
    Ok(messages as f64 / begin.elapsed().as_secs_f64())
}

/// The streams that a node makes.
pub(super) fn streams(prefix: &str) -> [String; 3] {
    [prefix.to_uppercase(), format!("KV_{prefix}_receivers"), format!("KV_{prefix}_shared")]
}
