//! Tells the observers of the host about deliveries.

use super::Delivery;
use super::attempt::Failure;
use crate::observer::{Attempt, Observers};
use crate::{DeadLetter, Message, Rejected, Timestamp};

impl Delivery {
    pub(super) fn observers(&self) -> &Observers {
        &self.context.services.observers
    }

    /// Tells the observers how a call of the receiver ended, for each of its messages.
    pub(super) fn observe_attempt(
        &self,
        messages: &[Message],
        number: u32,
        began_at: Timestamp,
        result: &Result<(), Failure>,
    ) {
        let attempt = Attempt {
            receiver: self.build.name(),
            messages,
            batch: messages.len(),
            number,
            began_at,
            ended_at: Timestamp::now().max(began_at),
        };
        match result {
            Ok(()) => self.observers().each(|observer| observer.delivered(&attempt)),
            Err(Failure::Rejected(rejected)) => {
                observe_rejected(self.observers(), attempt, rejected);
            }
            Err(failure) => {
                let error = failure.to_string();
                self.observers().each(|observer| observer.failed(&attempt, &error));
            }
        }
    }
}

/// Tells the observers about a call that delivered all messages but these.
fn observe_rejected(observers: &Observers, attempt: Attempt<'_>, rejected: &[Rejected]) {
    for Rejected { item, reason } in rejected {
        let Some(message) = attempt.messages.get(*item) else { continue };
        let attempt = Attempt { messages: std::slice::from_ref(message), ..attempt };
        observers.each(|observer| observer.failed(&attempt, reason));
    }
    let is_rejected = |item| rejected.iter().any(|rejected| rejected.item == item);
    let messages = attempt.messages.iter().enumerate();
    let delivered: Vec<Message> = messages
        .filter(|(item, _)| !is_rejected(*item))
        .map(|(_, message)| message.clone())
        .collect();
    if !delivered.is_empty() {
        let attempt = Attempt { messages: &delivered, ..attempt };
        observers.each(|observer| observer.delivered(&attempt));
    }
}

/// Tells the observers about dead letters.
pub(super) fn observe_set_aside(observers: &Observers, letters: &[DeadLetter]) {
    for letter in letters {
        observers.each(|observer| {
            observer.set_aside(&letter.receiver, &letter.message, &letter.reason);
        });
    }
}
