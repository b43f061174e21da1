//! The ordered, time-limited stop: handlers, bus, receivers.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Host;

/// The time limits of the parts of a stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) handlers: Duration,
    pub(super) drain: Duration,
}

/// The time in which the engine has to write the rest, once all receivers have ended.
const ENGINE: Duration = Duration::from_secs(10);

/// The result of a stop: everything that did not complete.
///
/// See [`Host`] for an example.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StopReport {
    /// Plugins that did not end in time; the engine (`bus.log`) if it could not write in time.
    pub abandoned: Vec<String>,
    /// Receivers with undelivered messages, and their number. With a durable engine the messages are kept, and delivered after
    /// the next start.
    pub undelivered: Vec<(String, u64)>,
    /// Lost messages that were acknowledged with `ack = "memory"` only, because the engine could not store them.
    pub lost: u64,
}

impl StopReport {
    /// Whether every plugin ended in time and every message was delivered.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.abandoned.is_empty() && self.undelivered.is_empty() && self.lost == 0
    }
}

impl Host {
    /// Stops the host: handlers answer their requests in flight and end, receivers drain their backlogs and terminate. Each of
    /// the two steps has its time limit; what has not completed by then is abandoned and named in the report.
    ///
    /// Dropping the future of this call aborts everything that still runs.
    pub async fn stop(self) -> StopReport {
        let drain = self.limits.drain;
        self.stop_within(drain).await
    }

    /// Stops the host as [`stop`](Self::stop), but gives receivers at most this long to drain their backlogs. With a durable
    /// engine, another host on the same data directory delivers the rest.
    ///
    /// Dropping the future of this call aborts everything that still runs.
    pub async fn stop_within(self, drain: Duration) -> StopReport {
        let shared = self.handle.0.clone();
        let mut report = StopReport::default();
        shared.ready.store(false, Ordering::Relaxed);
        // A change in progress is completed first, so that what it starts is stopped as well.
        let _no_changes = shared.changes.lock().await;

        shared.stop_handlers.cancel();
        let handlers = self.handler_tasks();
        let abandoned = join(handlers, self.limits.handlers).await;
        report.abandoned.extend(abandoned.into_iter().map(|name| format!("handlers.{name}")));
        self.monitor.abort();

        let engine = shared.bus.engine();
        engine.close();
        shared.stop_receivers.cancel();
        let receivers = self.receiver_tasks();
        let abandoned = join(receivers, drain.min(self.limits.drain)).await;
        report.abandoned.extend(abandoned.into_iter().map(|name| format!("receivers.{name}")));

        match tokio::time::timeout(ENGINE, engine.finish()).await {
            Ok(leftover) => report.lost = leftover.lost,
            Err(_) => report.abandoned.push(format!("bus.{}", shared.engine_kind)),
        }
        for part in &shared.parts.lock().receivers {
            let left = part.state.subscription.level().events;
            if left > 0 {
                report.undelivered.push((part.state.name.clone(), left));
            }
        }
        report
    }

    fn handler_tasks(&self) -> Vec<Task> {
        let mut parts = self.handle.0.parts.lock();
        let each = parts
            .handlers
            .iter_mut()
            .filter_map(|part| part.task.take().map(|task| Task { name: part.name.clone(), task }));
        each.collect()
    }

    fn receiver_tasks(&self) -> Vec<Task> {
        let mut parts = self.handle.0.parts.lock();
        let each = parts.receivers.iter_mut().flat_map(|part| {
            let name = part.state.name.clone();
            std::mem::take(&mut part.tasks).into_iter().map(move |task| (name.clone(), task))
        });
        each.map(|(name, task)| Task { name, task }).collect()
    }
}

/// A plugin's task. Dropping it aborts the task, so that a stop that is cut off leaves nothing running.
struct Task {
    name: String,
    task: JoinHandle<()>,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Waits for all tasks until the time is over, then aborts the rest and names their plugins.
async fn join(mut tasks: Vec<Task>, limit: Duration) -> Vec<String> {
    let deadline = Instant::now() + limit;
    let mut abandoned: Vec<String> = Vec::new();
    for Task { name, task } in &mut tasks {
        if tokio::time::timeout_at(deadline, &mut *task).await.is_err()
            && abandoned.last() != Some(name)
        {
            abandoned.push(name.clone());
        }
    }
    abandoned
}
