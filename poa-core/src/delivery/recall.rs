//! Tells an instance that was built anew who is active, because it has heard none of what the one before was told.
//!
//! What it is told is true now, while changes that it has not got yet still wait for it. Each agent's last change comes last, so
//! that in the end it knows the same.

use super::attempt::{Failure, attempt};
use super::{Delivery, narrow};
use crate::activity::ActivityMonitor;
use crate::error::or_default;
use crate::status::Phase;
use crate::{Activity, Receiver};

/// Knows who is active.
#[derive(Debug)]
pub(crate) struct Recall {
    activity: ActivityMonitor,
    /// How many instances in a row broke when they were told.
    broken: u32,
}

impl Recall {
    pub(crate) fn new(activity: ActivityMonitor) -> Self {
        Self { activity, broken: 0 }
    }
}

impl Delivery {
    /// Tells the instance, and gives it back unless it broke over that.
    pub(super) async fn recall_active(
        &mut self,
        mut receiver: Box<dyn Receiver>,
    ) -> Option<Box<dyn Receiver>> {
        let agents = self.recall.activity.active_agents();
        // One that breaks each time shall at least get messages.
        if self.recall.broken <= narrow::PANICS {
            for some in agents.chunks(self.options.batch.size.max(1)) {
                if let Err(failure) = self.tell_active(&mut *receiver, some).await {
                    self.recall.broken += u32::from(failure.breaks());
                    if failure.breaks() {
                        self.discard(Some(receiver));
                        return None;
                    }
                }
            }
            self.recall.broken = 0;
        }
        self.status.running(or_default(|| receiver.endpoints()));
        Some(receiver)
    }

    async fn tell_active(
        &mut self,
        receiver: &mut dyn Receiver,
        agents: &[Activity],
    ) -> Result<(), Failure> {
        let mut attempts = 0;
        loop {
            let timeout = self.options.timeout.get();
            let told = attempt(timeout, async { receiver.handle_active(agents).await }).await;
            let Err(failure) = told else { return Ok(()) };
            self.note(&failure);
            if failure.breaks() || failure.is_permanent() {
                return Err(failure);
            }
            self.counts.retried.inc();
            self.status.enter(Phase::Retrying);
            tokio::time::sleep(self.options.retry.wait(attempts)).await;
            attempts += 1;
        }
    }
}
