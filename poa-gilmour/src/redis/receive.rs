//! Messages that arrive: replies for those who wait, requests and signals for handlers.

use std::sync::Arc;

use redis::Msg;

use super::{Inner, RESPONSE};
use crate::engine::Registration;
use crate::local::{Entry, call, report_of};
use crate::report::{ERROR, ERRORS};
use crate::{Data, Envelope, Kind, Message, envelope};

/// A request or a signal that came.
struct Incoming {
    channel: Arc<str>,
    sender: Arc<str>,
    data: Data,
}

impl Inner {
    pub(super) fn received(self: &Arc<Self>, message: &Msg) {
        let pattern = message.get_pattern::<Option<String>>().ok().flatten();
        let (channel, payload) = (message.get_channel_name(), message.get_payload_bytes());
        if pattern.as_deref().is_some_and(|pattern| pattern == self.replies()) {
            return self.replied(channel, payload);
        }
        let subscribed = pattern.as_deref().unwrap_or(channel);
        let chosen = self.local.chosen(subscribed, pattern.is_some());
        if chosen.is_empty() {
            // It was on its way when the last subscription ended.
            return;
        }
        let Some(incoming) = read(channel, payload) else {
            self.local.counts.malformed.add();
            return tracing::debug!(channel, "dropped a message that is not an envelope");
        };
        for entry in chosen {
            self.take(entry, &incoming);
        }
    }

    fn replied(&self, channel: &str, payload: &[u8]) {
        let sender = channel.strip_prefix(RESPONSE).unwrap_or(channel);
        let Ok(envelope) = Envelope::read(payload) else {
            self.local.counts.malformed.add();
            return tracing::debug!(channel, "dropped a reply that is not an envelope");
        };
        let reply = Message::new(envelope.data, envelope.code);
        let reply = Message { code: reply.shown_code(), ..reply };
        if !self.pending.settle(sender, Ok(reply)) {
            self.local.counts.late_replies.add();
        }
    }

    /// Has a message handled, unless it lacks what that needs.
    fn take(self: &Arc<Self>, entry: Arc<Entry>, incoming: &Incoming) {
        let Registration { kind, group, .. } = &entry.registration;
        let sender = match (kind, group, &*incoming.sender) {
            (Kind::Slot, None, "") => self.senders.next(),
            (_, _, "") => {
                // No address for the reply, and no key for a lock.
                self.local.counts.malformed.add();
                let channel = &*incoming.channel;
                return tracing::debug!(channel, "dropped a message without a sender");
            }
            _ => incoming.sender.clone(),
        };
        if self.local.is_flooded() {
            return self.local.counts.refused_calls.add();
        }
        let incoming =
            Incoming { channel: incoming.channel.clone(), sender, data: incoming.data.clone() };
        let inner = self.clone();
        self.local.spawn(async move { inner.handle(&entry, incoming).await });
    }

    async fn handle(&self, entry: &Entry, incoming: Incoming) {
        let Incoming { channel, sender, data } = incoming;
        if let Some(group) = &entry.registration.group
            && !self.is_ours(&sender, group).await
        {
            return;
        }
        let reply = self.local.execute(entry, call(entry, &channel, &sender, &data)).await;
        if entry.registration.kind == Kind::Request {
            self.reply(&sender, &reply).await;
        }
        let about_reports = [ERROR, ERRORS].contains(&&*channel);
        if let Some(report) = report_of(&channel, &sender, &data, &reply)
            && !about_reports
        {
            self.report(report);
        }
    }

    /// Whether the message is for this member of the group. When that cannot be found out, it is not.
    async fn is_ours(&self, sender: &str, group: &str) -> bool {
        let Some(connection) = self.commands.connection() else { return false };
        match self.commands.lock(connection, sender, group).await {
            Ok(true) => true,
            Ok(false) => {
                self.local.counts.taken_elsewhere.add();
                false
            }
            Err(error) => {
                self.failed(&error);
                tracing::debug!(
                    sender,
                    group,
                    "left a message, because it could not be locked: {error}"
                );
                false
            }
        }
    }

    async fn reply(&self, sender: &str, reply: &Message) {
        let channel = format!("{RESPONSE}{sender}");
        // As the Go library: a reply that succeeds carries its channel for a sender. Receivers do not read it.
        let text = envelope::write(&reply.data, reply.code, &channel);
        let Some(connection) = self.commands.connection() else { return };
        match self.commands.publish(connection, &channel, &text).await {
            Ok(0) => tracing::debug!(sender, "a reply was not waited for any more"),
            Ok(_) => {}
            Err(error) => {
                self.failed(&error);
                tracing::debug!(sender, "lost a reply: {error}");
            }
        }
    }
}

/// Reports are bare, or envelopes without a sender that counts: they are passed on whole.
fn read(channel: &str, payload: &[u8]) -> Option<Incoming> {
    if [ERROR, ERRORS].contains(&channel) {
        let data = Data::from_slice(payload).ok()?;
        return Some(Incoming { channel: channel.into(), sender: "".into(), data });
    }
    let Envelope { data, sender, .. } = Envelope::read(payload).ok()?;
    Some(Incoming { channel: channel.into(), sender: sender.into(), data })
}
