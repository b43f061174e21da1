//! Sheds the oldest messages of a receiver whose backlog is full, while the receiver itself may be stuck.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::observe::observe_set_aside;
use super::set_aside::keep;
use super::{Counts, Delivery};
use crate::engine::{Capabilities, Subscription};
use crate::observer::Observers;
use crate::status::StatusCell;
use crate::{Backlog, DeadLetter, DeadLetters, Message, Retry, WhenFull};

/// Keeps the backlog of one receiver within its limits.
pub(crate) struct Shedding {
    subscription: Arc<dyn Subscription>,
    receiver: Arc<str>,
    backlog: Backlog,
    retry: Retry,
    status: StatusCell,
    counts: Arc<Counts>,
    dead_letters: Option<Arc<dyn DeadLetters>>,
    observers: Observers,
}

impl Shedding {
    /// For the backlog of this delivery; `None` if the engine never sheds any of its messages.
    pub(crate) fn of(delivery: &Delivery, engine: Capabilities) -> Option<Self> {
        let backlog = delivery.options.backlog;
        (engine.shared || backlog.when_full != WhenFull::Refuse).then(|| Self {
            subscription: delivery.subscription.clone(),
            receiver: delivery.build.name.clone(),
            backlog,
            retry: delivery.options.retry,
            status: delivery.status.clone(),
            counts: delivery.counts.clone(),
            dead_letters: delivery.dead_letters.clone(),
            observers: delivery.observers().clone(),
        })
    }

    /// Runs until `delivered` fires: by then the subscription is no longer read, and every message that was
    /// shed is durable.
    pub(crate) async fn run(self, delivered: CancellationToken) {
        loop {
            let letters = tokio::select! {
                biased;
                letters = self.subscription.next_shed() => letters,
                () = delivered.cancelled() => self.subscription.shed(),
            };
            if letters.is_empty() {
                return;
            }
            self.keep(letters).await;
        }
    }

    async fn keep(&self, messages: Vec<Message>) {
        let (count, reason) = (messages.len(), self.reason());
        let letter = |message| DeadLetter {
            attempts: 0,
            ..DeadLetter::new(self.receiver.clone(), message, &reason)
        };
        let letters: Vec<_> = messages.into_iter().map(letter).collect();
        observe_set_aside(&self.observers, &letters);
        tracing::error!(receiver = &*self.receiver, count, "messages dead-lettered: {reason}");
        if let Some(store) = &self.dead_letters {
            keep(&**store, letters, &self.retry, &self.receiver, &self.status).await;
        }
        self.counts.dead_lettered.inc_by(count as u64);
        self.subscription.shed_kept(count);
    }

    fn reason(&self) -> String {
        if self.backlog.when_full == WhenFull::Refuse {
            return "the process ended each time it was delivered".to_owned();
        }
        let bytes = self.backlog.max_bytes.map(|max| format!("more than {max}"));
        let age = self.backlog.max_age.map(|max| format!("for longer than {max}"));
        let bounds: Vec<_> = bytes.into_iter().chain(age).collect();
        format!("the backlog was full: messages waited, {}", bounds.join(" or "))
    }
}
