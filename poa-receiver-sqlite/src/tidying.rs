//! The maintenance task: removes old rows, creates missing indexes, releases free space and measures, alongside the calls
//! that store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use poa_core::Timestamp;
use poa_tables::Pace;
use tokio::task::JoinHandle;

use crate::error::StoreError;
use crate::shared::Shared;
use crate::writer::tidy::Step;

/// The wait when there is nothing to do.
const IDLE: Duration = Duration::from_secs(30);

/// Runs the maintenance for as long as this value lives.
#[derive(Debug)]
pub(crate) struct Tidying(JoinHandle<()>);

impl Tidying {
    /// Starts the task. It belongs to the receiver, and ends when that is dropped.
    pub(crate) fn begin(shared: Arc<Shared>, retention: Option<Duration>) -> Self {
        Self(tokio::spawn(run(shared, retention)))
    }
}

impl Drop for Tidying {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn run(shared: Arc<Shared>, retention: Option<Duration>) {
    let mut pace = Pace::default();
    let mut failing = false;
    loop {
        let (shared, rows) = (shared.clone(), pace.rows());
        // It ends only with the runtime.
        let Ok(step) = tokio::task::spawn_blocking(move || step(&shared, retention, rows)).await
        else {
            return;
        };
        let rest = match step {
            Some(Ok((Step::Idle, _))) | None => IDLE,
            Some(Ok((_, took))) => pace.rest(took),
            Some(Err(ref error)) => {
                if !failing {
                    tracing::warn!("cannot remove old rows, retrying every {IDLE:?}: {error}");
                }
                IDLE
            }
        };
        failing = matches!(step, Some(Err(_)));
        tokio::time::sleep(rest).await;
    }
}

/// One step, and how long it kept others from writing; `None` while the database is not open.
fn step(
    shared: &Shared,
    retention: Option<Duration>,
    rows: u32,
) -> Option<Result<(Step, Duration), StoreError>> {
    let before = retention.map(cutoff);
    shared.run_if_open(|writer| {
        let begin = Instant::now();
        let step = writer.tidy(before, rows)?;
        Ok((step, begin.elapsed()))
    })
}

/// Rows that were received before this time are too old.
fn cutoff(retention: Duration) -> Timestamp {
    let age = u64::try_from(retention.as_micros()).unwrap_or(u64::MAX);
    Timestamp::from_micros(Timestamp::now().as_micros().saturating_sub(age))
}
