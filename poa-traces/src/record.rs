//! Records spans as a host reports what happens to messages.

use std::cell::OnceCell;
use std::sync::Arc;

use poa_core::telemetry::Counter;
use poa_core::{Acknowledgement, Attempt, Message, Observer, Timestamp};
use tokio::sync::mpsc;

use crate::sample::Sampler;
use crate::span::{Call, Part, Span, error_text};

/// Queues the spans of the messages that are traced. Never waits: what does not fit into the queue is counted.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) sampler: Sampler,
    pub(crate) spans: mpsc::Sender<Span>,
    pub(crate) overflowed: Counter,
}

impl Recorder {
    /// The number of spans in the queue.
    pub(crate) fn queued(&self) -> usize {
        self.spans.max_capacity() - self.spans.capacity()
    }

    fn queue(&self, span: Span) {
        if self.spans.try_send(span).is_err() {
            self.overflowed.inc();
        }
    }

    fn attempted(&self, attempt: &Attempt<'_>, error: Option<&str>) {
        // Most batches have no message that is traced.
        let call = OnceCell::new();
        let make = || Call {
            receiver: attempt.receiver.to_owned(),
            batch: attempt.batch,
            number: attempt.number,
            error: error.map(error_text),
        };
        for message in attempt.messages {
            let Some(traced) = self.sampler.sample(message.id()) else { continue };
            self.queue(Span {
                traced,
                data_type: message.data_type().clone(),
                began_at: attempt.began_at,
                ended_at: attempt.ended_at,
                part: Part::Deliver {
                    call: call.get_or_init(|| Arc::new(make())).clone(),
                    received_at: message.received_at(),
                },
            });
        }
    }
}

impl Observer for Recorder {
    fn sees_acknowledgements(&self) -> bool {
        true
    }

    fn acknowledged(&self, of: &Acknowledgement<'_>) {
        let Some(traced) = self.sampler.sample(of.id) else { return };
        let error = of.outcome.and_then(Result::err);
        self.queue(Span {
            traced,
            data_type: of.data_type.clone(),
            began_at: of.received_at,
            ended_at: of.ended_at,
            part: Part::Publish {
                agent_id: of.agent_id.clone(),
                bytes: of.bytes,
                sender_span: of.sender_span.map(Box::new),
                error: error.map(|error| error_text(&error.to_string())),
            },
        });
    }

    fn delivered(&self, attempt: &Attempt<'_>) {
        self.attempted(attempt, None);
    }

    fn failed(&self, attempt: &Attempt<'_>, error: &str) {
        self.attempted(attempt, Some(error));
    }

    fn set_aside(&self, receiver: &str, message: &Message, reason: &str) {
        let Some(traced) = self.sampler.sample(message.id()) else { return };
        let now = Timestamp::now();
        self.queue(Span {
            traced,
            data_type: message.data_type().clone(),
            began_at: now,
            ended_at: now,
            part: Part::DeadLetter { receiver: receiver.to_owned(), reason: error_text(reason) },
        });
    }
}
