//! Other ways to write the same rows, each a batch in a transaction.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures_util::future::try_join;
use poa_core::Message;
use serde_json::Value;
use tokio_postgres::Client;
use uuid::Uuid;

use super::{BATCH, alone};
use crate::Failure;

/// Half of the batches over each of two connections, so messages of one agent can be stored out of order.
pub(super) async fn two(clients: &[Client; 2], batches: &[Bytes]) -> Result<Duration, Failure> {
    let (first, second) = batches.split_at(batches.len() / 2);
    let begin = Instant::now();
    try_join(alone::copy(&clients[0], first), alone::copy(&clients[1], second)).await?;
    Ok(begin.elapsed())
}

/// Into a table without an index, and from there the rows that are not stored yet.
pub(super) async fn staged(client: &Client, batches: &[Bytes]) -> Result<Duration, Failure> {
    client
        .batch_execute(
            "CREATE TEMP TABLE IF NOT EXISTS staged (LIKE eth_stats) ON COMMIT DELETE ROWS",
        )
        .await?;
    let copy = client.prepare("COPY staged FROM STDIN (FORMAT binary)").await?;
    let begin = Instant::now();
    for batch in batches {
        client.batch_execute("BEGIN").await?;
        let mut sink = std::pin::pin!(client.copy_in(&copy).await?);
        futures_util::SinkExt::send(&mut sink, batch.clone()).await?;
        sink.finish().await?;
        client
            .batch_execute(
                "INSERT INTO eth_stats SELECT * FROM staged ON CONFLICT DO NOTHING; COMMIT",
            )
            .await?;
    }
    Ok(begin.elapsed())
}

/// The columns of a batch, read from its JSON before the measurement starts.
#[derive(Default)]
struct Columns {
    ids: Vec<Uuid>,
    dates: Vec<SystemTime>,
    agents: Vec<String>,
    flags: [Vec<Option<bool>>; 2],
    numbers: [Vec<Option<i64>>; 3],
    blocks: [Vec<Option<String>>; 3],
}

impl Columns {
    fn of(messages: &[Message]) -> Result<Self, Failure> {
        let mut columns = Self::default();
        for message in messages {
            let data: Value = message.payload().read()?;
            let body = &data["body"];
            let at = Duration::from_micros(message.received_at().as_micros());
            columns.ids.push(Uuid::from_bytes(*message.id().as_bytes()));
            columns.dates.push(SystemTime::UNIX_EPOCH + at);
            columns.agents.push(message.agent_id().as_str().to_owned());
            for (column, key) in columns.flags.iter_mut().zip(["active", "mining"]) {
                column.push(body[key].as_bool());
            }
            for (column, key) in columns.numbers.iter_mut().zip(["hashrate", "peers", "gasPrice"]) {
                column.push(body[key].as_i64());
            }
            let keys = ["currentBlock", "highestBlock", "startingBlock"];
            for (column, key) in columns.blocks.iter_mut().zip(keys) {
                column.push(body["syncing"][key].as_str().map(str::to_owned));
            }
        }
        Ok(columns)
    }
}

/// Each column as an array.
pub(super) async fn arrays(client: &Client, messages: &[Message]) -> Result<Duration, Failure> {
    let insert = "INSERT INTO eth_stats SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::boolean[], $5::boolean[],
            $6::bigint[], $7::bigint[], $8::bigint[], $9::text[], $10::text[], $11::text[]) ON CONFLICT DO NOTHING";
    let statement = client.prepare(insert).await?;
    let batches: Vec<_> =
        messages.chunks(BATCH).map(Columns::of).collect::<Result<_, Failure>>()?;
    let begin = Instant::now();
    for Columns { ids, dates, agents, flags, numbers, blocks } in &batches {
        let [active, mining] = flags;
        let [hashrate, peers, gas_price] = numbers;
        let [current, highest, starting] = blocks;
        client
            .execute(
                &statement,
                &[
                    ids, dates, agents, active, mining, hashrate, peers, gas_price, current,
                    highest, starting,
                ],
            )
            .await?;
    }
    Ok(begin.elapsed())
}
