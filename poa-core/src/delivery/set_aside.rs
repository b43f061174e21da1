//! Keeping what can never be delivered.

use super::Delivery;
use crate::status::StatusCell;
use crate::{DeadLetter, DeadLetters, Message, Retry, Timestamp};

impl Delivery {
    /// Counts, reports and keeps these messages as dead letters. Returns once they are kept.
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
        letters.iter().for_each(report);
        self.observe(|observer, receiver| {
            letters.iter().for_each(|one| observer.set_aside(receiver, &one.message, &one.reason));
        });
        self.counts.dead_lettered.inc_by(letters.len() as u64);
        let Some(store) = self.dead_letters.clone() else { return };
        keep(&*store, letters, &self.options.retry, self.build.name(), &self.status).await;
    }
}

/// Returns once the letters are kept, however long it takes.
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
        tracing::error!(receiver, "cannot keep dead letters, trying again in {wait:?}: {error}");
        status.failed(&format!("cannot keep dead letters: {error}"));
        tokio::time::sleep(wait).await;
        attempt += 1;
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
        "message set aside, it can never be delivered: {}",
        letter.reason
    );
}
