//! The ordered, bounded end: handlers, bus, receivers.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::{Host, Task};

/// How long each part of a stop may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) handlers: Duration,
    pub(super) drain: Duration,
}

/// How long the log may take to write what is left, once nobody reads it any more.
const LOG: Duration = Duration::from_secs(10);

/// What a stop had to leave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StopReport {
    /// Plugins that did not end in time; `bus.log` when the disk did not answer in time.
    pub abandoned: Vec<String>,
    /// Receivers with messages they did not get, and how many. With [`Engine::Log`](crate::Engine::Log) they are kept, and
    /// delivered after the next start.
    pub undelivered: Vec<(String, u64)>,
    /// Messages that were taken with no more than `ack = "memory"` and are gone, because the log could not be written.
    pub lost: u64,
}

impl StopReport {
    /// True when every plugin ended in time and every message was delivered.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.abandoned.is_empty() && self.undelivered.is_empty() && self.lost == 0
    }
}

impl Host {
    /// Stops the host: handlers answer what they took and end, receivers get what is queued and terminate. Each of the two
    /// steps has its time; what is not done by then is abandoned and named in the report.
    ///
    /// Dropping the future of this call aborts what still runs.
    pub async fn stop(self) -> StopReport {
        let drain = self.limits.drain;
        self.stop_within(drain).await
    }

    /// Stops the host like [`stop`](Self::stop), but gives receivers no more than this long to get what is queued. With
    /// [`Engine::Log`](crate::Engine::Log), another host on the same data directory delivers the rest.
    ///
    /// Dropping the future of this call aborts what still runs.
    pub async fn stop_within(mut self, drain: Duration) -> StopReport {
        let shared = self.handle.0.clone();
        let mut report = StopReport::default();
        shared.ready.store(false, Ordering::Relaxed);

        shared.stop_handlers.cancel();
        let abandoned = join(&mut self.handlers, self.limits.handlers).await;
        report.abandoned.extend(abandoned.into_iter().map(|name| format!("handlers.{name}")));
        self.monitor.abort();

        shared.bus.close();
        shared.stop_receivers.cancel();
        let abandoned = join(&mut self.receivers, drain.min(self.limits.drain)).await;
        report.abandoned.extend(abandoned.into_iter().map(|name| format!("receivers.{name}")));

        shared.bus.finish();
        if let Some(ended) = self.committer.take() {
            // A panic in it has been reported by its hook. A disk that hangs must not keep the host from stopping.
            if tokio::time::timeout(LOG, ended).await.is_err() {
                report.abandoned.push("bus.log".to_owned());
            }
        }
        report.lost = shared.bus.lost();
        for receiver in &shared.receiver_status {
            let left = receiver.reader.backlog().count as u64;
            if left > 0 {
                report.undelivered.push((receiver.name.clone(), left));
            }
        }
        report
    }
}

/// Waits for all tasks until the time is over, then aborts the rest and names their plugins.
async fn join(tasks: &mut [Task], limit: Duration) -> Vec<String> {
    let deadline = Instant::now() + limit;
    let mut abandoned = Vec::new();
    for Task { name, task } in tasks {
        if tokio::time::timeout_at(deadline, &mut *task).await.is_err() {
            task.abort();
            if abandoned.last() != Some(name) {
                abandoned.push(name.clone());
            }
        }
    }
    abandoned
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::mpsc;

    use crate::{
        BuildContext, ControlMessage, DeliveryError, Engine, Host, Message, Receiver,
        ReceiverFactory, ReceiverOptions, async_trait,
    };

    /// Says what it is told.
    struct Telling(mpsc::UnboundedSender<&'static str>);

    #[async_trait]
    impl Receiver for Telling {
        async fn metrics_received(&mut self, _: &[Message]) -> Result<(), DeliveryError> {
            Ok(())
        }

        async fn handle_message(&mut self, message: ControlMessage) -> Result<(), DeliveryError> {
            assert_eq!(message, ControlMessage::Stopping);
            self.0.send("stopping").map_err(DeliveryError::transient)
        }

        async fn terminate(&mut self) {
            self.0.send("terminate").unwrap();
        }
    }

    #[tokio::test]
    async fn whoever_sees_the_bus_closed_first_is_told_all_the_same() {
        let (sender, mut told) = mpsc::unbounded_channel();
        let factory: ReceiverFactory = Arc::new(move |_: &BuildContext| {
            let receiver: Box<dyn Receiver> = Box::new(Telling(sender.clone()));
            Box::pin(async { Ok(receiver) })
        });
        let dir = tempfile::tempdir().unwrap();
        let host = Host::builder()
            .metrics(["m"])
            .engine(Engine::Memory)
            .data_dir(dir.path())
            .receiver_from("r", ReceiverOptions::subscribe(["m"]), factory);
        let host = host.start().await.unwrap();
        // As between the two steps of a stop.
        host.handle.0.bus.close();
        assert_eq!(told.recv().await, Some("stopping"));
        assert_eq!(told.recv().await, Some("terminate"));
        assert!(host.stop().await.is_clean());
        assert_eq!(told.recv().await, None, "told once");
    }
}
