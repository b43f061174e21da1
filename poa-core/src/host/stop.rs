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

/// The rest of the time for draining, in which receivers end that only wait to try again.
const LAST_CALL: Duration = Duration::from_millis(500);

/// The result of a stop: everything that did not complete.
///
/// See [`Host`] for an example.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StopReport {
    /// Plugins that did not end in time, and the engine (`bus.log`) if it could not write in time. A receiver that only waits to try again
    /// ends in time; its messages are among the undelivered ones.
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
    /// the two steps has its time limit; what has not completed by then is abandoned and named in the report. A receiver whose
    /// destination is away is tried until shortly before the limit, and then ends.
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
        let until = Instant::now() + self.limits.handlers;
        let hang = join(self.handler_tasks(), until).await;
        report.abandoned.extend(names("handlers", hang));
        self.monitor.abort();

        let engine = shared.bus.engine();
        engine.close();
        shared.stop_receivers.cancel();
        let drain = drain.min(self.limits.drain);
        let until = Instant::now() + drain;
        let slow = join(self.receiver_tasks(), until - LAST_CALL.min(drain / 4)).await;
        shared.last_call.cancel();
        let hang = join(slow, until).await;
        report.abandoned.extend(names("receivers", hang));

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

/// Waits for the tasks until this time, and returns those that still run.
async fn join(tasks: Vec<Task>, until: Instant) -> Vec<Task> {
    let mut running = Vec::new();
    for mut task in tasks {
        if tokio::time::timeout_at(until, &mut task.task).await.is_err() {
            running.push(task);
        }
    }
    running
}

/// The names of the plugins of these tasks, which are aborted.
fn names(role: &str, tasks: Vec<Task>) -> Vec<String> {
    let mut names: Vec<_> = tasks.iter().map(|task| format!("{role}.{}", task.name)).collect();
    names.dedup();
    names
}
