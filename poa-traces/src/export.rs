//! The task that sends queued spans to the collector.

use std::time::Duration;

use poa_core::{Retry, config};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::client::{Client, ExportError};
use crate::encode::Encoder;
use crate::otlp::PartialSuccess;
use crate::report::{Counts, Log};
use crate::span::Span;

/// The number of spans that wait for the collector. Later ones are dropped.
pub(crate) const QUEUE: usize = 8192;

/// The most spans of a request.
const BATCH: usize = 512;

/// How long a request is retried before its spans are dropped.
const GIVE_UP: Duration = Duration::from_secs(60);

/// The longest wait between two attempts, if the collector does not ask for a longer one.
const LONGEST_WAIT: config::Duration = config::Duration::from_secs(10);

/// The longest wait that is granted when the collector asks for one.
const MOST_ASKED: Duration = Duration::from_secs(300);

/// How long the spans that are left at a stop may take.
const FLUSH: Duration = Duration::from_secs(5);

/// Sends spans until the queue is closed or a stop is requested.
#[derive(Debug)]
pub(crate) struct Exporter {
    pub(crate) spans: mpsc::Receiver<Span>,
    pub(crate) client: Client,
    pub(crate) encoder: Encoder,
    pub(crate) counts: Counts,
    /// The longest time that a span waits for others.
    pub(crate) interval: Duration,
    pub(crate) stop: CancellationToken,
    pub(crate) log: Log,
}

impl Exporter {
    /// Runs until the end: after a request to stop, until the spans that are left were sent, a request failed, or [`FLUSH`] has passed.
    pub(crate) async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        let stop = self.stop.clone();
        let out_of_time = async {
            stop.cancelled().await;
            sleep(FLUSH).await;
        };
        tokio::select! {
            biased;
            () = self.export_all(&mut batch) => {}
            () = out_of_time => {}
        }
        self.give_up(batch.len());
    }

    async fn export_all(&mut self, batch: &mut Vec<Span>) {
        while self.next_batch(batch).await {
            if !self.export(batch).await {
                return;
            }
            batch.clear();
        }
    }

    /// Fills an empty batch; false at the end of the queue.
    async fn next_batch(&mut self, batch: &mut Vec<Span>) -> bool {
        let mut deadline = None;
        while batch.len() < BATCH {
            let room = BATCH - batch.len();
            let came = tokio::select! {
                biased;
                () = self.stop.cancelled(), if !self.spans.is_closed() => {
                    // What is in the queue still comes, and then the end.
                    self.spans.close();
                    continue;
                }
                came = until(deadline, self.spans.recv_many(batch, room)) => came,
            };
            match came {
                None | Some(0) => break,
                Some(_) => deadline = deadline.or_else(|| Some(Instant::now() + self.interval)),
            }
        }
        !batch.is_empty()
    }

    /// Sends a batch, retrying for a while; false if a stop was requested before it could be sent.
    async fn export(&mut self, batch: &[Span]) -> bool {
        let body = self.client.pack(self.encoder.encode(batch));
        let (begin, mut attempt) = (Instant::now(), 0);
        loop {
            let error = match self.client.send(body.clone()).await {
                Ok(answer) => {
                    self.sent(batch.len() as u64, &answer);
                    return true;
                }
                Err(error) => error,
            };
            self.log.failed(&self.counts, &error);
            let Some(wait) = wait(&error, attempt, begin.elapsed()) else {
                self.counts.lost(&error).inc_by(batch.len() as u64);
                return true;
            };
            if self.stop.is_cancelled() {
                return false;
            }
            // At a stop the last attempt is made at once.
            let _ = self.stop.run_until_cancelled(sleep(wait)).await;
            attempt += 1;
        }
    }

    fn sent(&mut self, spans: u64, answer: &PartialSuccess) {
        let rejected = u64::try_from(answer.rejected_spans).unwrap_or_default().min(spans);
        self.counts.exported.inc_by(spans - rejected);
        self.counts.refused.inc_by(rejected);
        self.log.sent(&self.counts, rejected, &answer.error_message);
    }

    /// Counts the spans of a batch, and those that are still queued, as not sent.
    fn give_up(&mut self, batch: usize) {
        self.spans.close();
        let left = batch + self.spans.len();
        if left > 0 {
            self.counts.unsent.inc_by(left as u64);
            tracing::warn!(spans = left, "spans were not exported before the stop");
        }
    }
}

/// The result, or none at the deadline.
async fn until<T>(deadline: Option<Instant>, work: impl Future<Output = T>) -> Option<T> {
    match deadline {
        Some(deadline) => timeout_at(deadline, work).await.ok(),
        None => Some(work.await),
    }
}

/// The wait before a request is sent again, after this many attempts beyond the first and this time; none if it is given up. A collector may
/// ask for a longer wait.
fn wait(error: &ExportError, attempt: u32, elapsed: Duration) -> Option<Duration> {
    if !error.is_transient() || elapsed > GIVE_UP {
        return None;
    }
    let mut retry = Retry::default();
    retry.initial = config::Duration::from_secs(1);
    retry.max = LONGEST_WAIT;
    let asked = error.retry_after().unwrap_or_default().min(MOST_ASKED);
    Some(retry.wait(attempt).max(asked))
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn refused(status: u16, retry_after: Option<u64>) -> ExportError {
        ExportError::Refused {
            endpoint: "http://collector/v1/traces".to_owned(),
            status: StatusCode::from_u16(status).unwrap(),
            text: String::new(),
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    #[test]
    fn only_what_can_pass_is_retried_and_not_indefinitely() {
        for status in [429, 502, 503, 504] {
            let error = refused(status, None);
            assert!(wait(&error, 30, GIVE_UP).is_some_and(|wait| wait <= LONGEST_WAIT.get()));
            assert_eq!(wait(&error, 30, GIVE_UP + Duration::from_secs(1)), None);
        }
        for status in [400, 401, 404, 413, 500] {
            assert_eq!(wait(&refused(status, Some(1)), 0, Duration::ZERO), None, "{status}");
        }
    }

    #[test]
    fn the_wait_that_a_collector_asks_for_is_granted_within_limits() {
        let asked = |seconds| wait(&refused(503, Some(seconds)), 0, Duration::ZERO).unwrap();
        assert_eq!(asked(40), Duration::from_secs(40));
        assert_eq!(asked(1_000_000), MOST_ASKED);
    }
}
