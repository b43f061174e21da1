//! Subscriptions, and the messages that arrive over them.

use std::pin::Pin;
use std::sync::Arc;

use async_nats::{Client, Subscriber};
use futures_util::StreamExt as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Inner, Lost, PATIENCE, Running, TAKEN, subject};
use crate::engine::{Registration, Release, SubscribeError, Subscription};
use crate::local::{Entry, call, report_of};
use crate::report::{ERROR, ERRORS};
use crate::{BAD_ANSWER, Data, Envelope, Kind, Message, envelope};

/// A call, and the address of its reply.
struct Incoming {
    channel: Arc<str>,
    sender: Arc<str>,
    data: Data,
    reply_to: Option<String>,
}

impl Inner {
    pub(super) async fn begin(
        self: &Arc<Self>,
        mut registration: Registration,
    ) -> Result<Subscription, SubscribeError> {
        subject::check(&registration)?;
        let ignored = registration.kind == Kind::Slot && !self.local.options.slot_groups;
        if ignored && !registration.strict {
            registration.group = None;
        }
        let client = self.connected().await?;
        let subscriber = self.subscriber(client, &registration).await?;
        let (id, _) = self.local.add(registration.clone());
        let subscription = Subscription::new(id, self.clone());
        let (end, ended) = (CancellationToken::new(), CancellationToken::new());
        self.running.lock().insert(id, Running { end: end.clone(), ended: ended.clone() });
        self.micro.add(id, &registration);
        let inner = self.clone();
        self.local.spawn(async move {
            let _ended = ended.drop_guard();
            inner.listen(Arc::new(Entry { id, registration }), subscriber, end).await;
        });
        Ok(subscription)
    }

    async fn subscriber(
        &self,
        client: &Client,
        registration: &Registration,
    ) -> Result<Subscriber, SubscribeError> {
        let subject = subject::of(registration)?;
        self.refusals.lock().remove(&subject);
        let subscribed = match &registration.group {
            Some(group) => client.queue_subscribe(subject.clone(), group.to_string()).await,
            None => client.subscribe(subject.clone()).await,
        };
        let refused =
            |cause| SubscribeError::Refused { channel: registration.channel.clone(), cause };
        let subscriber = subscribed.map_err(|error| refused(error.to_string()))?;
        self.acknowledged(client).await?;
        // A refusal is told by another task than the one that brings acknowledgements: one more leaves it the time.
        self.acknowledged(client).await?;
        match self.refusals.lock().remove(&subject) {
            Some(cause) => Err(refused(cause)),
            None => Ok(subscriber),
        }
    }

    /// Takes what comes over a subscription until it is ended, and then what the server had sent by then.
    async fn listen(
        self: &Arc<Self>,
        entry: Arc<Entry>,
        mut subscriber: Subscriber,
        end: CancellationToken,
    ) {
        loop {
            tokio::select! {
                () = end.cancelled() => break,
                message = subscriber.next() => match message {
                    Some(message) => self.take(&entry, message),
                    None => return,
                },
            }
        }
        if self.state.borrow().is_up() && subscriber.drain().await.is_ok() {
            let rest = async {
                while let Some(message) = subscriber.next().await {
                    self.take(&entry, message);
                }
            };
            // The connection may be lost meanwhile.
            let _ = tokio::time::timeout(PATIENCE, rest).await;
        }
    }

    fn take(self: &Arc<Self>, entry: &Arc<Entry>, message: async_nats::Message) {
        let Registration { channel, pattern, group, kind, .. } = &entry.registration;
        if *pattern && !crate::glob::matches(channel, &message.subject) {
            return;
        }
        if group.as_ref().is_some_and(|group| has_taken(&message, group)) {
            return self.local.counts.taken_elsewhere.add();
        }
        let incoming = self.read(&message).filter(|incoming| {
            // A request without an address has no use for a reply.
            *kind == Kind::Slot || incoming.reply_to.is_some()
        });
        let Some(incoming) = incoming else {
            self.local.counts.malformed.add();
            return tracing::debug!(channel = &**channel, "dropped a message that is malformed");
        };
        if self.local.is_flooded() {
            return self.local.counts.refused_calls.add();
        }
        let (inner, entry) = (self.clone(), entry.clone());
        self.local.spawn(async move { inner.handle(&entry, incoming).await });
    }

    /// Reports are bare, or envelopes without a sender that counts: they are passed on whole.
    fn read(&self, message: &async_nats::Message) -> Option<Incoming> {
        let channel: Arc<str> = message.subject.as_str().into();
        let (data, sender) = if is_report(&channel) {
            (Data::from_slice(&message.payload).ok()?, String::new())
        } else {
            let Envelope { data, sender, .. } = Envelope::read(&message.payload).ok()?;
            (data, sender)
        };
        let sender = if sender.is_empty() { self.senders.next() } else { sender.into() };
        let reply_to = message.reply.as_ref().map(ToString::to_string);
        Some(Incoming { channel, sender, data, reply_to })
    }

    async fn handle(&self, entry: &Entry, incoming: Incoming) {
        let Incoming { channel, sender, data, reply_to } = incoming;
        let begin = Instant::now();
        let reply = self.local.execute(entry, call(entry, &channel, &sender, &data)).await;
        self.micro.count(entry.id, begin.elapsed(), &reply);
        if let (Kind::Request, Some(to)) = (entry.registration.kind, reply_to) {
            self.reply(&to, &reply, &sender).await;
        }
        if let Some(report) = report_of(&channel, &sender, &data, &reply)
            && !is_report(&channel)
        {
            self.report(&report).await;
        }
    }

    async fn reply(&self, to: &str, reply: &Message, sender: &str) {
        let text = envelope::write(&reply.data, reply.code, sender);
        match self.answer(to, text).await {
            Ok(()) => {}
            Err(Lost::TooLarge(error)) => {
                let text = envelope::write(&Data::text(&error.to_string()), BAD_ANSWER, sender);
                // Small enough now; the connection may be lost, and with it the request.
                let _ = self.answer(to, text).await;
            }
            Err(Lost::Unreachable(error)) => tracing::debug!(sender, "lost a reply: {error}"),
        }
    }
}

fn is_report(channel: &str) -> bool {
    [ERROR, ERRORS].contains(&channel)
}

/// Whether the sender has handled a signal for this group.
fn has_taken(message: &async_nats::Message, group: &str) -> bool {
    let taken = message.headers.as_ref().and_then(|headers| headers.get(TAKEN));
    taken.is_some_and(|groups| groups.as_str().split(',').any(|taken| taken == group))
}

impl Release for Inner {
    fn release(&self, id: u64) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        self.local.remove(id);
        self.micro.remove(id);
        let Running { end, ended } = self.running.lock().remove(&id)?;
        end.cancel();
        Some(Box::pin(async move { ended.cancelled().await }))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use poa_test_nats::{Servers, Setup};

    use super::*;
    use crate::engine::{Engine as _, Options, State};
    use crate::{Call, NatsEngine, Topic};

    const WAIT: Duration = Duration::from_secs(30);

    /// After a loss of the connection, other subscriptions may not be acknowledged yet.
    #[tokio::test]
    async fn a_request_that_comes_before_the_engine_is_up_is_answered() {
        let start = || Servers::start(Setup::single()).unwrap();
        let server = tokio::task::spawn_blocking(start).await.unwrap();
        let engine = || NatsEngine::new(&server.url(0), Options::default()).unwrap();
        let (serving, asking) = (engine(), engine());
        let topic = Topic::new("echo").unwrap();
        let echo = |call: Call| async move { Message::ok(call.data) };
        let _service = serving.subscribe(Registration::service(&topic, echo)).await.unwrap();
        asking.connect(WAIT).await.unwrap();
        serving.inner.state.send_replace(State::Down("not all is acknowledged".into()));
        let answer = asking.request(&topic, &Data::text("x"), WAIT).await.unwrap();
        assert_eq!((answer.code, answer.data.json()), (200, r#""x""#));
    }
}
