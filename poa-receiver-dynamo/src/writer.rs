//! Writes a batch to the table, in requests of up to 25 items.

mod backoff;
mod chunk;

use std::collections::HashSet;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use poa_core::telemetry::Counter;
use poa_core::{BuildContext, DeliveryError, Message, MessageId};
use tokio::time::Instant;

use crate::Config;
use crate::error::StoreError;
use crate::item::SortKeys;
use crate::table::Table;
use backoff::Backoff;
use chunk::{Chunk, Chunks};

/// The number of concurrent requests. Every item has a key of its own and none replaces another, so their order has no
/// effect on the table.
const IN_FLIGHT: usize = 8;

/// Counts the messages that were not stored as an operator would expect.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    passed_over: Counter,
    as_text: Counter,
    throttled: Counter,
}

/// The counts of a batch; they are added once the batch is confirmed, however often it was tried.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    passed_over: u64,
    as_text: u64,
}

impl Counters {
    /// Registers the counters of the receiver that is being built.
    pub(crate) fn new(cx: &BuildContext) -> Self {
        let labels = [("receiver", cx.name())];
        let counter = |name, help| cx.telemetry().counter(name, help, &labels);
        Self {
            passed_over: counter(
                "receiver_passed_over_messages",
                "Messages that are not blocks, confirmed without being stored",
            ),
            as_text: counter(
                "receiver_kept_as_text_messages",
                "Blocks with a value that DynamoDB cannot represent, stored as JSON text",
            ),
            throttled: counter(
                "receiver_throttled_requests",
                "Requests that DynamoDB refused, completely or in part, because the table was too busy",
            ),
        }
    }

    fn add(&self, tally: Tally) {
        self.passed_over.inc_by(tally.passed_over);
        self.as_text.inc_by(tally.as_text);
    }
}

/// A message that can never be stored.
#[derive(Debug)]
struct Refused {
    /// Its index in the batch.
    index: usize,
    why: String,
}

/// The outcome of a chunk.
#[derive(Debug, Default)]
struct Outcome {
    stored: Vec<MessageId>,
    refused: Option<Refused>,
    /// To be written one at a time, because one of its items is refused.
    apart: Vec<Chunk>,
    failed: Option<StoreError>,
}

/// The outcome of a batch.
#[derive(Debug)]
struct Written {
    refused: Vec<Refused>,
    /// The first error of items that have to be written later.
    failed: Option<StoreError>,
    tally: Tally,
}

/// Writes batches into one table.
#[derive(Debug)]
pub(crate) struct Writer {
    table: Table,
    counters: Counters,
    /// The host that claims keys without an id; none when no host of the table does.
    host: Option<String>,
    /// None before the table was checked, and when it is gone.
    keys: Option<SortKeys>,
    /// The time limit for writing a batch, including throttled requests.
    patience: Duration,
    /// The stored messages of a batch that was postponed: when it is delivered again, only the rest is written.
    /// Otherwise a batch that is too large for the capacity or the speed of the table would be restarted indefinitely.
    stored: HashSet<MessageId>,
}

impl Writer {
    pub(crate) fn new(
        table: Table,
        counters: Counters,
        host: Option<String>,
        config: &Config,
    ) -> Self {
        let patience = config.request_timeout.get();
        Self { table, counters, host, keys: None, patience, stored: HashSet::new() }
    }

    /// Checks the table, unless that is done; creates it when it is missing and `create_table` is set.
    pub(crate) async fn prepare(&mut self) -> Result<SortKeys, StoreError> {
        if let Some(keys) = self.keys {
            return Ok(keys);
        }
        self.table.prepare().await?;
        let shared = match &self.host {
            Some(host) => !self.table.claim_plain_times(host).await?,
            None => true,
        };
        Ok(*self.keys.insert(SortKeys { shared }))
    }

    /// Stores the blocks among these messages.
    ///
    /// Cancel safe: items are written again with the same keys.
    ///
    /// # Errors
    /// Permanent for messages that can never be stored, after the others are stored. Transient for every other error.
    pub(crate) async fn store(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        let deadline = Instant::now() + self.patience;
        let keys = self.prepare().await?;
        let Written { refused, failed, tally } = self.write(batch, keys, deadline).await;
        if let Some(error) = failed {
            if error.is_another_table() {
                self.stored.clear();
                self.keys = None;
            }
            return Err(error.into());
        }
        match refused.first() {
            Some(first) => {
                let alike = refused.iter().filter(|refused| refused.why == first.why);
                let items = alike.map(|refused| refused.index).collect();
                Err(DeliveryError::permanent_for(items, first.why.clone()))
            }
            None => {
                self.stored.clear();
                self.counters.add(tally);
                Ok(())
            }
        }
    }

    /// Writes as much as possible until the deadline.
    async fn write(&mut self, batch: &[Message], keys: SortKeys, deadline: Instant) -> Written {
        let Self { table, counters, stored, patience, .. } = self;
        let mut chunks = Chunks::new(batch, stored, keys);
        let mut apart = Vec::new();
        let mut in_flight = FuturesUnordered::new();
        let (mut refused, mut failed, mut done) = (Vec::new(), None, Vec::new());
        let backoff = Backoff::until(deadline);
        loop {
            while failed.is_none() && in_flight.len() < IN_FLIGHT {
                let Some(chunk) = apart.pop().or_else(|| chunks.next()) else { break };
                // However slow the table is, each call makes progress.
                if Instant::now() >= deadline && !done.is_empty() {
                    failed = Some(table.slow(*patience));
                    break;
                }
                in_flight.push(write(table, &counters.throttled, chunk, backoff));
            }
            let Some(outcome) = in_flight.next().await else { break };
            done.extend(outcome.stored);
            refused.extend(outcome.refused);
            apart.extend(outcome.apart);
            failed = failed.or(outcome.failed);
        }
        drop(in_flight);
        let Chunks { tally, refused: unfit, .. } = chunks;
        refused.extend(unfit);
        stored.extend(done);
        Written { refused, failed, tally }
    }
}

/// Writes one chunk, and retries while DynamoDB is too busy for all of it.
async fn write(
    table: &Table,
    throttled: &Counter,
    mut chunk: Chunk,
    mut backoff: Backoff,
) -> Outcome {
    let mut outcome = Outcome::default();
    loop {
        let requests = chunk.requests();
        let error = match table.write(requests).await {
            Ok(left) => {
                outcome.stored.extend(chunk.keep(left));
                if chunk.is_empty() {
                    return outcome;
                }
                table.busy()
            }
            Err(StoreError::Invalid { cause, .. }) => {
                return blame(table, chunk, outcome, cause).await;
            }
            Err(error) => error,
        };
        if error.is_throttling() {
            throttled.inc();
            if backoff.wait().await {
                continue;
            }
        }
        outcome.failed = Some(error);
        return outcome;
    }
}

/// DynamoDB refuses the request as invalid: either one of its items is, or the table changed.
async fn blame(table: &Table, chunk: Chunk, mut outcome: Outcome, cause: String) -> Outcome {
    if let Err(error) = table.check().await {
        outcome.failed = Some(error);
        return outcome;
    }
    match chunk.alone() {
        Ok((index, id)) => {
            let why = format!("DynamoDB refuses the item of message {id}: {cause}");
            outcome.refused = Some(Refused { index, why });
        }
        Err(apart) => outcome.apart = apart,
    }
    outcome
}
