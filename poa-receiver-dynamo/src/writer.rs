//! Brings a batch into the table, in requests of up to 25 items.

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

/// How many requests are under way at the same time. Every item has a key of its own and none replaces another, so the order
/// in which they arrive is nothing that the table shows.
const IN_FLIGHT: usize = 8;

/// Counts what was not stored as an operator may expect.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    passed_over: Counter,
    as_text: Counter,
    throttled: Counter,
}

/// What there is to count in a batch; it counts once the batch is confirmed, however often that was tried.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    passed_over: u64,
    as_text: u64,
}

impl Counters {
    /// The counters of the receiver that is being built.
    pub(crate) fn new(cx: &BuildContext) -> Self {
        let labels = [("receiver", cx.name())];
        let counter = |name, help| cx.telemetry().counter(name, help, &labels);
        Self {
            passed_over: counter(
                "receiver_passed_over_messages",
                "Messages that are no blocks, confirmed without being stored",
            ),
            as_text: counter(
                "receiver_kept_as_text_messages",
                "Blocks with a value that DynamoDB cannot hold and that was stored as the text of its JSON",
            ),
            throttled: counter(
                "receiver_throttled_requests",
                "Requests that DynamoDB refused, in whole or in part, because the table was too busy",
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
    /// Its place in the batch.
    index: usize,
    why: String,
}

/// What became of a chunk.
#[derive(Debug, Default)]
struct Outcome {
    stored: Vec<MessageId>,
    refused: Option<Refused>,
    /// To be written one at a time, because one of them is to blame.
    apart: Vec<Chunk>,
    failed: Option<StoreError>,
}

/// What became of a batch.
#[derive(Debug)]
struct Written {
    refused: Vec<Refused>,
    /// The first error that says that there is more to write.
    failed: Option<StoreError>,
    tally: Tally,
}

/// Writes batches into one table.
#[derive(Debug)]
pub(crate) struct Writer {
    table: Table,
    counters: Counters,
    /// Who claims the keys without an id; none when no host of the table does.
    host: Option<String>,
    /// None before the table is known, and when it is gone.
    keys: Option<SortKeys>,
    /// How long to write at a batch, what is throttled included.
    patience: Duration,
    /// What was stored of a batch that then was put off: when it comes again, only the rest is written. Otherwise a batch that is too
    /// large for the capacity or the speed of the table would be begun anew for ever.
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

    /// Gets to know the table, unless it is known; makes it when it is missing and shall be made.
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
    /// Cancel safe: what was written before is written again with the same keys.
    ///
    /// # Errors
    /// Permanent for messages that can never be stored; the others are stored then. Transient for everything else.
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

    /// Writes as much as can be until the deadline.
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
                // However slow it is, each call gets on.
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

/// Writes one chunk, again and again while DynamoDB is too busy for all of it.
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

/// DynamoDB says that the request is wrong: so one of its items is, unless the table is.
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
