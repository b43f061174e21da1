//! Isolates the messages that cannot be delivered, and delivers the rest.

use super::Delivery;
use super::attempt::Failure;
use super::runs::Messages;
use crate::{Message, Rejected, Timestamp};

/// The number of panics of the receiver with one message alone before the message is blamed.
pub(super) const PANICS: u32 = 2;

/// Messages that are delivered together, and the attempts so far.
struct Part {
    messages: Messages,
    attempts: u32,
}

/// The result for a part of a batch.
enum Outcome {
    Delivered,
    /// One of these is poison; deliver the halves.
    Split,
    /// These items cannot be delivered, for this reason.
    Without(Vec<usize>, String),
    /// These items cannot be delivered, each for its reason; the others are delivered.
    Partly(Vec<Rejected>),
}

impl Delivery {
    /// Delivers the messages, oldest first; returns the positions of those that were dead-lettered.
    ///
    /// A batch with a permanent error is halved until the poison message is isolated. The part before it is delivered first, so the
    /// order is kept.
    pub(super) async fn deliver_messages(&mut self, messages: Messages) -> Vec<u64> {
        let begin = Timestamp::now();
        let mut failed = Vec::new();
        let mut parts = self.suspects_apart(messages);
        parts.reverse();
        while let Some(mut part) = parts.pop() {
            match self.deliver_part(&mut part).await {
                Outcome::Delivered => {
                    self.counts.delivered.inc_by(part.messages.len() as u64);
                }
                Outcome::Split => {
                    let second = part.messages.split_off(part.messages.len() / 2);
                    let attempts = part.attempts;
                    parts.extend([Part { messages: second, attempts }, part]);
                }
                Outcome::Without(items, reason) => {
                    let (dead, rest) = separate(part.messages, &items);
                    failed.extend(dead.iter().map(|(position, _)| *position));
                    self.set_aside(dead, &reason, part.attempts, begin).await;
                    if rest.len() > 0 {
                        parts.push(Part { messages: rest, attempts: part.attempts });
                    }
                }
                Outcome::Partly(rejected) => {
                    failed.extend(self.set_aside_rejected(part, rejected, begin).await);
                }
            }
        }
        failed
    }

    /// Dead-letters the rejected messages; the others are delivered. Returns the positions of the rejected ones.
    async fn set_aside_rejected(
        &mut self,
        part: Part,
        rejected: Vec<Rejected>,
        begin: Timestamp,
    ) -> Vec<u64> {
        let mut failed = Vec::with_capacity(rejected.len());
        for Rejected { item, reason } in &rejected {
            let dead = part.messages.get(*item);
            failed.push(dead.0);
            self.set_aside(vec![dead], reason, part.attempts, begin).await;
        }
        self.counts.delivered.inc_by((part.messages.len() - rejected.len()) as u64);
        self.succeeded();
        failed
    }

    /// Messages that were in flight when the process ended are delivered one at a time, because one of them may have ended it.
    fn suspects_apart(&self, messages: Messages) -> Vec<Part> {
        if !messages.list.iter().any(|message| self.in_hand.suspects(message.id())) {
            return vec![Part { messages, attempts: 0 }];
        }
        let mut parts: Vec<Part> = Vec::new();
        let mut last_suspect = true;
        for (position, message) in messages {
            let suspect = self.in_hand.suspects(message.id());
            match parts.last_mut() {
                Some(part) if !suspect && !last_suspect => part.messages.push(position, message),
                _ => {
                    let mut messages = Messages::default();
                    messages.push(position, message);
                    parts.push(Part { messages, attempts: 0 });
                }
            }
            last_suspect = suspect;
        }
        parts
    }

    /// Tries until the result for these messages is known.
    async fn deliver_part(&mut self, part: &mut Part) -> Outcome {
        let messages = &part.messages.list;
        let alone = messages.len() == 1;
        if alone && self.in_hand.convicts(messages[0].id()) {
            return Outcome::Without(
                vec![0],
                "the process ended each time it was delivered".into(),
            );
        }
        let (mut repeats, mut panics) = (0, 0);
        loop {
            let expired = self.expired(messages, part.attempts > 0);
            if !expired.is_empty() {
                return Outcome::Without(expired, "older than `max_age`".into());
            }
            part.attempts += 1;
            let Err(failure) = self.try_messages(messages, part.attempts).await else {
                self.succeeded();
                return Outcome::Delivered;
            };
            match &failure {
                Failure::Permanent { items, reason } => {
                    return Self::without(items, reason, messages.len());
                }
                Failure::Rejected(items) => return rejected(items, messages.len()),
                Failure::Panicked(_) if !alone => return Outcome::Split,
                Failure::Panicked(message) if panics == PANICS => {
                    return Outcome::Without(vec![0], format!("panicked: {message}"));
                }
                Failure::Panicked(_) => panics += 1,
                Failure::Transient { .. } | Failure::Misconfigured(_) | Failure::TimedOut(_) => {}
            }
            self.wait_before_retry(&failure, repeats).await;
            repeats += 1;
        }
    }

    /// The result for a batch of this size with a permanent error for these items.
    fn without(items: &[usize], reason: &str, count: usize) -> Outcome {
        let items: Vec<_> = items.iter().copied().filter(|item| *item < count).collect();
        match (items.is_empty(), count == 1) {
            (false, _) => Outcome::Without(items, reason.to_owned()),
            (true, true) => Outcome::Without(vec![0], reason.to_owned()),
            (true, false) => Outcome::Split,
        }
    }

    /// The items that are too old to be retried.
    fn expired(&self, messages: &[Message], tried: bool) -> Vec<usize> {
        let Some(max_age) = self.options.retry.max_age.filter(|_| tried) else { return Vec::new() };
        let too_old = |message: &Message| message.received_at().elapsed() > max_age.get();
        messages
            .iter()
            .enumerate()
            .filter(|(_, message)| too_old(message))
            .map(|(i, _)| i)
            .collect()
    }
}

/// The result for a batch of this size of which the receiver rejected these items. Each item counts once; an item that does not exist
/// is ignored, and with no items everything is delivered.
fn rejected(items: &[Rejected], count: usize) -> Outcome {
    let mut items: Vec<_> =
        items.iter().filter(|rejected| rejected.item < count).cloned().collect();
    items.sort_by_key(|rejected| rejected.item);
    items.dedup_by_key(|rejected| rejected.item);
    Outcome::Partly(items)
}

/// These items, and the others.
fn separate(messages: Messages, items: &[usize]) -> (Vec<(u64, Message)>, Messages) {
    let mut is_dead = vec![false; messages.len()];
    items.iter().for_each(|item| is_dead[*item] = true);
    let (mut dead, mut rest) = (Vec::with_capacity(items.len()), Messages::default());
    for ((position, message), is_dead) in messages.into_iter().zip(is_dead) {
        if is_dead {
            dead.push((position, message));
        } else {
            rest.push(position, message);
        }
    }
    (dead, rest)
}
