//! Dead-letters what cannot be delivered.

use std::time::Duration;

use tokio::time::Instant;

use super::Delivery;
use super::observe::observe_set_aside;
use crate::status::StatusCell;
use crate::{DeadLetter, DeadLetters, Message, Retry, Timestamp};

impl Delivery {
    /// Counts these messages, reports them and stores them as dead letters. Returns once they are stored.
    pub(super) async fn set_aside(
        &mut self,
        messages: Vec<(u64, Message)>,
        reason: &str,
        attempts: u32,
        first_attempt: Timestamp,
    ) {
        let letters: Vec<_> = messages
            .into_iter()
            .map(|(_, message)| DeadLetter {
                attempts,
                first_attempt,
                ..DeadLetter::new(self.build.name.clone(), message, reason)
            })
            .collect();
        self.reports.add(&letters);
        observe_set_aside(self.observers(), &letters);
        self.counts.dead_lettered.inc_by(letters.len() as u64);
        let Some(store) = self.dead_letters.clone() else { return };
        keep(&*store, letters, &self.options.retry, self.build.name(), &self.status).await;
    }
}

/// Returns once the letters are stored, however long it takes.
pub(super) async fn keep(
    store: &dyn DeadLetters,
    letters: Vec<DeadLetter>,
    retry: &Retry,
    receiver: &str,
    status: &StatusCell,
) {
    let mut attempt = 0;
    while let Err(error) = store.keep(letters.clone()).await {
        let wait = retry.wait(attempt);
        tracing::error!(receiver, "cannot store dead letters, retrying in {wait:?}: {error}");
        status.failed(&format!("cannot store dead letters: {error}"));
        tokio::time::sleep(wait).await;
        attempt += 1;
    }
}

/// Reports dead-lettered messages, a few in full and the others as a number, so that a sender of poison messages cannot fill
/// the log output.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    window_end: Option<Instant>,
    in_full: u32,
    others: u64,
}

/// The number of messages that are reported in full within [`WINDOW`].
const IN_FULL: u32 = 5;
const WINDOW: Duration = Duration::from_secs(10);

impl Reports {
    fn add(&mut self, letters: &[DeadLetter]) {
        let Some(first) = letters.first() else { return };
        let now = Instant::now();
        if self.window_end.is_none_or(|end| end <= now) {
            self.sum_up(&first.receiver);
            *self = Self { window_end: Some(now + WINDOW), ..Self::default() };
        }
        for letter in letters {
            if self.in_full < IN_FULL {
                self.in_full += 1;
                report(letter);
            } else {
                self.others += 1;
            }
        }
    }

    /// Returns when messages that were not reported in full are due to be summed up. Cancel safe.
    pub(super) async fn due(&self) {
        match self.window_end.filter(|_| self.others > 0) {
            Some(end) => tokio::time::sleep_until(end).await,
            None => std::future::pending().await,
        }
    }

    /// Reports the number of messages that were not reported in full.
    pub(super) fn sum_up(&mut self, receiver: &str) {
        let messages = std::mem::take(&mut self.others);
        if messages > 0 {
            tracing::error!(
                receiver,
                messages,
                "dead-lettered more messages; all of them are in the dead letters"
            );
        }
    }
}

fn report(letter: &DeadLetter) {
    let message = &letter.message;
    tracing::error!(
        receiver = &*letter.receiver,
        message_id = %message.id(),
        agent_id = %message.agent_id(),
        data_type = %message.data_type(),
        bytes = message.payload().bytes().len(),
        "message dead-lettered, it cannot be delivered: {}",
        letter.reason
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AgentId, DataTypes, Draft, MessageId, Payload};

    fn letters(count: usize) -> Vec<DeadLetter> {
        let data_type = DataTypes::new(["a"]).unwrap().get("a").unwrap().clone();
        let payload = Payload::json(&serde_json::json!({})).unwrap();
        let draft = Draft::new(AgentId::new("agent").unwrap(), data_type, payload);
        let message = Message::stamp(draft, MessageId::from_bytes([0; 16]), Timestamp::now());
        vec![DeadLetter::new("r", message, "poison"); count]
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_poison_messages_is_a_few_log_lines() {
        let mut reports = Reports::default();
        reports.add(&letters(2));
        (0..100).for_each(|_| reports.add(&letters(3)));
        assert_eq!((reports.in_full, reports.others), (IN_FULL, 297));
        let began = Instant::now();
        reports.due().await;
        assert_eq!(began.elapsed(), WINDOW);
        reports.sum_up("r");
        assert_eq!(reports.others, 0);
        // In the next window they are reported in full again.
        reports.add(&letters(1));
        assert_eq!((reports.in_full, reports.others), (1, 0));
    }
}
