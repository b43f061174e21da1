//! Tells a rebuilt instance which agents are active, because it received none of the changes that its predecessor did.
//!
//! This state is current, while changes that the instance has not received yet are still in its backlog. The last change of each
//! agent is delivered last, so the instance ends up with the right state.

use super::attempt::{Failure, attempt};
use super::{Delivery, narrow};
use crate::activity::ActivityMonitor;
use crate::error::or_default;
use crate::status::Phase;
use crate::{Activity, Receiver};

/// Knows which agents are active.
#[derive(Debug)]
pub(crate) struct Recall {
    activity: ActivityMonitor,
    /// The number of instances in a row that broke during this call.
    broken: u32,
}

impl Recall {
    pub(crate) fn new(activity: ActivityMonitor) -> Self {
        Self { activity, broken: 0 }
    }
}

impl Delivery {
    /// Tells the instance, and returns it unless the call broke it.
    pub(super) async fn recall_active(
        &mut self,
        mut receiver: Box<dyn Receiver>,
    ) -> Option<Box<dyn Receiver>> {
        let agents = self.recall.activity.active_agents();
        // An instance that breaks each time should at least get messages.
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
