//! The same driver without the receiver.

use std::pin::pin;
use std::time::{Duration, Instant, SystemTime};

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::{SinkExt as _, TryStreamExt as _};
use poa_core::Message;
use tokio_postgres::Client;
use uuid::Uuid;

use super::BATCH;
use crate::Failure;

/// The header and the trailer of a binary COPY.
const HEADER: usize = 19;
const TRAILER: &[u8] = &(-1i16).to_be_bytes();

/// The rows that the receiver stored, as input for COPY, one batch each.
pub(super) async fn rows(client: &Client, count: usize) -> Result<Vec<Bytes>, Failure> {
    let stream = client.copy_out("COPY eth_stats TO STDOUT (FORMAT binary)").await?;
    let mut parts: Vec<Bytes> = stream.try_collect().await?;
    // The server sends a row at a time, the header with the first, the trailer last.
    let header = parts[0].split_to(HEADER);
    parts.retain(|part| part.has_remaining() && part != TRAILER);
    if parts.len() != count {
        return Err(format!("{} of {count} rows are stored", parts.len()).into());
    }
    let batch = |rows: &[Bytes]| {
        let mut copy = BytesMut::from(&header[..]);
        rows.iter().for_each(|row| copy.extend_from_slice(row));
        copy.extend_from_slice(TRAILER);
        copy.freeze()
    };
    Ok(parts.chunks(BATCH).map(batch).collect())
}

/// Copies each batch in a transaction of its own.
pub(super) async fn copy(client: &Client, batches: &[Bytes]) -> Result<Duration, Failure> {
    let statement = client.prepare("COPY eth_stats FROM STDIN (FORMAT binary)").await?;
    let begin = Instant::now();
    for batch in batches {
        let mut sink = pin!(client.copy_in(&statement).await?);
        sink.send(batch.clone()).await?;
        sink.finish().await?;
    }
    Ok(begin.elapsed())
}

/// The simplest implementation: one INSERT, and so one transaction, for each message.
pub(super) async fn insert(client: &Client, messages: &[Message]) -> Result<Duration, Failure> {
    let insert = "INSERT INTO eth_stats (message_id, date, agent_id, active, mining, hashrate, peers, gas_price, current_block,
            highest_block, starting_block)
        VALUES ($1, $2, $3, $4, $5, $6::bigint, $7, $8::bigint, $9, $10, $11) ON CONFLICT DO NOTHING";
    let statement = client.prepare(insert).await?;
    let begin = Instant::now();
    for message in messages {
        let data: serde_json::Value = message.payload().read()?;
        let body = &data["body"];
        let flag = |key: &str| body[key].as_bool();
        let number = |key: &str| body[key].as_i64();
        let block = |key: &str| body["syncing"][key].as_str();
        let id = Uuid::from_bytes(*message.id().as_bytes());
        let date =
            SystemTime::UNIX_EPOCH + Duration::from_micros(message.received_at().as_micros());
        let agent = message.agent_id().as_str();
        client
            .execute(
                &statement,
                &[
                    &id,
                    &date,
                    &agent,
                    &flag("active"),
                    &flag("mining"),
                    &number("hashrate"),
                    &number("peers"),
                    &number("gasPrice"),
                    &block("currentBlock"),
                    &block("highestBlock"),
                    &block("startingBlock"),
                ],
            )
            .await?;
    }
    Ok(begin.elapsed())
}
