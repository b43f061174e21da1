//! Reads a stream from a sequence on, without a hole, whatever happens to servers and consumers.
//!
//! The consumer is ephemeral and acknowledges nothing: where a reader is, it knows itself. Each message carries its number among those
//! that were delivered to the consumer. A number that is missing, a heartbeat that stays away or a consumer that is gone make the reader
//! create another consumer, behind the last message it got.

use std::time::Duration;

use async_nats::{Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;

use crate::contact::Contact;
use crate::failure::Failure;

/// How often the server says that it has nothing.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// How long nothing may be heard.
const SILENCE: Duration = Duration::from_millis(1500);
/// How long the server keeps a consumer without requests.
const INACTIVE: Duration = Duration::from_secs(30);
/// How long a request for messages waits at the server.
const EXPIRES: Duration = Duration::from_secs(20);
/// How long to wait before another consumer is created.
const PAUSE: Duration = Duration::from_millis(100);
/// The bytes that may be on their way.
const WINDOW: usize = 4 << 20;
/// The most messages that are asked for at once.
const MOST: usize = 2048;

/// A stream, filters and a start.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) stream: String,
    pub(crate) filters: Vec<String>,
    /// The sequence to start at.
    pub(crate) start: u64,
}

/// An outcome of reading.
#[derive(Debug)]
pub(crate) enum Arrival {
    Message(StreamMessage),
    /// Every message up to this one was read, or is none of those wanted.
    CaughtUp(u64),
    /// The consumer is gone or silent; another one will be created.
    Interrupted(Failure),
}

/// A message of a stream.
#[derive(Debug)]
pub(crate) struct StreamMessage {
    pub(crate) sequence: u64,
    /// How many messages come after this one.
    pub(crate) pending: u64,
    pub(crate) message: Message,
}

impl StreamMessage {
    pub(crate) fn payload(&self) -> Bytes {
        self.message.payload.clone()
    }
}

/// A reader. It does its work in [`next`](Self::next).
pub(crate) struct Reader {
    contact: Contact,
    reading: Reading,
    /// The sequence to continue at.
    next: u64,
    consumer: Option<Consumer>,
    /// How many bytes a message has, about.
    average: usize,
    failures: u32,
}

struct Consumer {
    name: String,
    subscriber: Subscriber,
    inbox: String,
    /// The number of the last message that was delivered to it.
    delivered: u64,
    /// Messages that were asked for and have not come.
    asked: usize,
    /// Messages that it had to deliver when it was created.
    pending: u64,
    told_pending: bool,
}

#[derive(Deserialize)]
struct Created {
    name: String,
    #[serde(default)]
    num_pending: u64,
}

impl Reader {
    pub(crate) fn new(contact: Contact, reading: Reading) -> Self {
        let next = reading.start;
        Self { contact, reading, next, consumer: None, average: 1024, failures: 0 }
    }

    /// The next thing that is read. Never ends. Cancel safe, but a consumer that was being created may be left to expire.
    pub(crate) async fn next(&mut self) -> Arrival {
        loop {
            let Some(consumer) = self.consumer.as_mut() else {
                if let Some(arrival) = self.open().await {
                    return arrival;
                }
                continue;
            };
            if !consumer.told_pending {
                consumer.told_pending = true;
                if consumer.pending == 0 {
                    return Arrival::CaughtUp(self.next.saturating_sub(1));
                }
            }
            let asked = self.ask().await;
            let heard = match asked {
                Ok(()) => self.hear().await,
                Err(failure) => Err(failure),
            };
            match heard {
                Ok(Some(arrival)) => return arrival,
                Ok(None) => {}
                Err(failure) => return self.interrupted(failure),
            }
        }
    }

    /// The next thing, if it has arrived already; does not wait.
    pub(crate) fn ready(&mut self) -> Option<Arrival> {
        // Without a consumer it would begin to create one.
        self.consumer.as_ref()?;
        self.next().now_or_never()
    }

    fn interrupted(&mut self, failure: Failure) -> Arrival {
        self.consumer = None;
        Arrival::Interrupted(failure)
    }

    /// Creates a consumer.
    async fn open(&mut self) -> Option<Arrival> {
        if self.failures > 0 {
            tokio::time::sleep(PAUSE * self.failures.min(10)).await;
        }
        match self.create().await {
            Ok(consumer) => {
                self.consumer = Some(consumer);
                self.failures = 0;
                None
            }
            Err(failure) => {
                self.failures += 1;
                Some(Arrival::Interrupted(failure))
            }
        }
    }

    async fn create(&mut self) -> Result<Consumer, Failure> {
        let client = self.contact.client();
        let inbox = client.new_inbox();
        // Before the consumer: nothing of what it sends may be missed.
        let subscriber = client.subscribe(inbox.clone()).await.map_err(|_| Failure::Unanswered)?;
        let name = format!("poa-{:016x}", fastrand::u64(..));
        let stream = &self.reading.stream;
        let body =
            json!({ "stream_name": stream, "config": self.config(&name), "action": "create" });
        let created: Created =
            self.contact.api(&format!("CONSUMER.CREATE.{stream}.{name}"), &body).await?;
        Ok(Consumer {
            name: created.name,
            subscriber,
            inbox,
            delivered: 0,
            asked: 0,
            pending: created.num_pending,
            told_pending: false,
        })
    }

    fn config(&self, name: &str) -> serde_json::Value {
        json!({
            "name": name,
            "ack_policy": "none",
            "replay_policy": "instant",
            "filter_subjects": self.reading.filters,
            "inactive_threshold": INACTIVE.as_nanos() as u64,
            "num_replicas": 1,
            "mem_storage": true,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": self.next.max(1),
        })
    }

    /// Asks for more, so that there is always something on its way.
    async fn ask(&mut self) -> Result<(), Failure> {
        let batch = (WINDOW / self.average.max(1)).clamp(1, MOST);
        let Some(consumer) = self.consumer.as_mut() else { return Ok(()) };
        if consumer.asked > batch / 2 {
            return Ok(());
        }
        let body = json!({
            "batch": batch,
            "expires": EXPIRES.as_nanos() as u64,
            "idle_heartbeat": HEARTBEAT.as_nanos() as u64,
        });
        let subject =
            format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", self.reading.stream, consumer.name);
        let client = self.contact.client();
        let sent =
            client.publish_with_reply(subject, consumer.inbox.clone(), body.to_string().into());
        sent.await.map_err(|_| Failure::Unanswered)?;
        consumer.asked += batch;
        Ok(())
    }

    async fn hear(&mut self) -> Result<Option<Arrival>, Failure> {
        let Some(consumer) = self.consumer.as_mut() else { return Ok(None) };
        let message = timeout(SILENCE, consumer.subscriber.next()).await;
        let message = message.map_err(|_| Failure::Unanswered)?.ok_or(Failure::Unanswered)?;
        match message.status {
            None => self.take(message),
            Some(StatusCode::IDLE_HEARTBEAT) => self.heartbeat(&message),
            Some(_) => self.ended(&message).map(|()| None),
        }
    }

    fn take(&mut self, message: Message) -> Result<Option<Arrival>, Failure> {
        let place = message.reply.as_deref().and_then(Place::parse);
        let place =
            place.ok_or_else(|| Failure::Refused("a message without its sequence".into()))?;
        let Some(consumer) = self.consumer.as_mut() else { return Ok(None) };
        consumer.asked = consumer.asked.saturating_sub(1);
        // After the leader of a stream was killed, numbers have been missing.
        if place.delivered != consumer.delivered + 1 {
            return Err(Failure::NotFound("messages on their way to the consumer".into()));
        }
        consumer.delivered = place.delivered;
        self.next = place.sequence + 1;
        self.average = (self.average * 7 + message.length) / 8;
        let (sequence, pending) = (place.sequence, place.pending);
        Ok(Some(Arrival::Message(StreamMessage { sequence, pending, message })))
    }

    /// A heartbeat carries how far the consumer has looked, also past messages that its filters exclude.
    fn heartbeat(&mut self, message: &Message) -> Result<Option<Arrival>, Failure> {
        let number = |name: &str| -> Option<u64> {
            message.headers.as_ref()?.get(name)?.as_str().parse().ok()
        };
        let Some(consumer) = self.consumer.as_ref() else { return Ok(None) };
        let (Some(delivered), Some(scanned)) =
            (number("Nats-Last-Consumer"), number("Nats-Last-Stream"))
        else {
            return Ok(None);
        };
        if delivered != consumer.delivered {
            return Err(Failure::NotFound("messages on their way to the consumer".into()));
        }
        self.next = self.next.max(scanned + 1);
        Ok(Some(Arrival::CaughtUp(scanned)))
    }

    /// A request for messages ended before all of them had come.
    fn ended(&mut self, message: &Message) -> Result<(), Failure> {
        let reason = message.description.as_deref().unwrap_or_default();
        let Some(consumer) = self.consumer.as_mut() else { return Ok(()) };
        match message.status {
            Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND) => {
                let left = message.headers.as_ref().and_then(|headers| {
                    headers.get("Nats-Pending-Messages")?.as_str().parse::<usize>().ok()
                });
                consumer.asked = consumer.asked.saturating_sub(left.unwrap_or(usize::MAX));
                Ok(())
            }
            Some(StatusCode::NO_RESPONDERS) => Err(Failure::NoLeader),
            _ => Err(Failure::NotFound(format!("the consumer: {reason}"))),
        }
    }

    /// Removes the consumer from the server, where it would otherwise stay for a while.
    pub(crate) async fn close(mut self) {
        let Some(consumer) = self.consumer.take() else { return };
        let subject = format!("CONSUMER.DELETE.{}.{}", self.reading.stream, consumer.name);
        // It goes by itself if this fails.
        let _ = self.contact.api::<serde_json::Value>(&subject, &serde_json::Value::Null).await;
    }
}

/// The numbers in the reply subject of a message: `$JS.ACK.<domain>.<account>.<stream>.<consumer>.<times>.<stream sequence>.<consumer
/// sequence>.<time>.<pending>…`, the first two left out by default.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    sequence: u64,
    delivered: u64,
    pending: u64,
}

impl Place {
    fn parse(reply: &str) -> Option<Self> {
        let (mut tokens, mut count) = ([""; 9], 0);
        for token in reply.strip_prefix("$JS.ACK.")?.split('.').take(tokens.len()) {
            tokens[count] = token;
            count += 1;
        }
        let skip = if count > 7 { 2 } else { 0 };
        let number = |at: usize| tokens.get(skip + at)?.parse().ok();
        Some(Self { sequence: number(3)?, delivered: number(4)?, pending: number(6)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reply_subject_tells_the_place() {
        let place = Some(Place { sequence: 12, delivered: 3, pending: 4 });
        assert_eq!(Place::parse("$JS.ACK.POA.c1.1.12.3.1700000000000000000.4"), place);
        assert_eq!(Place::parse("$JS.ACK._.hash.POA.c1.1.12.3.1700000000000000000.4.x"), place);
        assert_eq!(Place::parse("$JS.ACK.POA.c1.1.12.3"), None);
        assert_eq!(Place::parse("_INBOX.x"), None);
    }
}
