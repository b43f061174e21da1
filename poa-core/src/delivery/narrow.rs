//! Finds the messages that can never be delivered, and delivers the rest.

use super::Delivery;
use super::attempt::Failure;
use crate::Message;

/// How often a message on its own may make the receiver panic before the message is blamed for it.
pub(super) const PANICS: u32 = 2;

type Messages = Vec<(u64, Message)>;

impl Delivery {
    /// Delivers the messages, oldest first; returns the positions of those that were set aside.
    ///
    /// A batch that fails for good is halved until the poison stands alone. The part before it is delivered first, so the
    /// order is kept.
    pub(super) async fn deliver_messages(&mut self, messages: Messages) -> Vec<u64> {
        let mut failed = Vec::new();
        let mut parts = vec![messages];
        while let Some(part) = parts.pop() {
            match self.deliver_part(&part).await {
                Outcome::Delivered => {
                    self.counts.delivered.inc_by(part.len() as u64);
                }
                Outcome::Split => {
                    let mut first = part;
                    let second = first.split_off(first.len() / 2);
                    parts.extend([second, first]);
                }
                Outcome::Without(items, reason) => {
                    let rest = self.set_aside(part, &items, &reason, &mut failed);
                    if !rest.is_empty() {
                        parts.push(rest);
                    }
                }
            }
        }
        failed
    }

    /// Tries until it is clear what to do with these messages.
    async fn deliver_part(&mut self, part: &[(u64, Message)]) -> Outcome {
        let messages: Vec<Message> = part.iter().map(|(_, message)| message.clone()).collect();
        let alone = messages.len() == 1;
        let (mut attempts, mut panics) = (0, 0);
        loop {
            let Err(failure) = self.try_messages(&messages).await else {
                self.succeeded(attempts);
                return Outcome::Delivered;
            };
            match failure {
                Failure::Permanent { items, reason } => {
                    let items: Vec<_> = items.into_iter().filter(|i| *i < part.len()).collect();
                    match (items.is_empty(), alone) {
                        (false, _) => return Outcome::Without(items, reason),
                        (true, true) => return Outcome::Without(vec![0], reason),
                        (true, false) => return Outcome::Split,
                    }
                }
                Failure::Panicked(_) if !alone => return Outcome::Split,
                Failure::Panicked(message) if panics == PANICS => {
                    return Outcome::Without(vec![0], format!("panicked: {message}"));
                }
                Failure::Panicked(_) => panics += 1,
                Failure::Transient(_) | Failure::TimedOut(_) => {}
            }
            self.wait_before_retry(attempts).await;
            attempts += 1;
        }
    }

    /// Counts and reports these items as dead letters; returns the other messages.
    fn set_aside(
        &self,
        part: Messages,
        items: &[usize],
        reason: &str,
        failed: &mut Vec<u64>,
    ) -> Messages {
        let mut rest = Vec::with_capacity(part.len());
        for (index, (position, message)) in part.into_iter().enumerate() {
            if items.contains(&index) {
                self.report_dead(&message, reason);
                failed.push(position);
            } else {
                rest.push((position, message));
            }
        }
        rest
    }

    fn report_dead(&self, message: &Message, reason: &str) {
        self.counts.dead_lettered.inc();
        tracing::error!(
            receiver = self.build.name(),
            message_id = %message.id(),
            agent_id = %message.agent_id(),
            data_type = %message.data_type(),
            bytes = message.payload().bytes().len(),
            "message set aside, it can never be delivered: {reason}"
        );
    }
}

enum Outcome {
    Delivered,
    /// One of these is poison; deliver the halves.
    Split,
    /// These items are poison, for this reason.
    Without(Vec<usize>, String),
}
