//! Services as `nats micro ls` shows them: the answers to `$SRV.PING`, `$SRV.INFO` and `$SRV.STATS` (NATS ADR-32).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::{SubscribeError, Subscriber};
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::Inner;
use crate::engine::{Registration, Unreachable};
use crate::{Kind, Message};

/// The name of the one service of a process; its endpoints are the topics.
const NAME: &str = "gilmour";
const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Debug, Default)]
pub(super) struct Micro {
    endpoints: Mutex<BTreeMap<u64, Endpoint>>,
    /// When this process began to answer.
    started: OnceCell<SystemTime>,
}

#[derive(Debug)]
struct Endpoint {
    subject: Arc<str>,
    group: String,
    requests: u64,
    errors: u64,
    last_error: String,
    took: Duration,
}

impl Micro {
    pub(super) fn add(&self, id: u64, registration: &Registration) {
        if registration.kind != Kind::Request
            || !registration.channel.starts_with(Kind::Request.prefix())
        {
            return;
        }
        let endpoint = Endpoint {
            subject: registration.channel.clone(),
            group: registration.group.as_deref().unwrap_or_default().to_owned(),
            requests: 0,
            errors: 0,
            last_error: String::new(),
            took: Duration::ZERO,
        };
        self.endpoints.lock().insert(id, endpoint);
    }

    pub(super) fn remove(&self, id: u64) {
        self.endpoints.lock().remove(&id);
    }

    pub(super) fn count(&self, id: u64, took: Duration, reply: &Message) {
        if let Some(endpoint) = self.endpoints.lock().get_mut(&id) {
            endpoint.requests += 1;
            endpoint.took += took;
            if reply.code >= 300 {
                endpoint.errors += 1;
                endpoint.last_error = format!("{}: {}", reply.code, reply.data.json());
            }
        }
    }

    fn answer(&self, verb: &str, id: &str) -> Value {
        let kind = format!("io.nats.micro.v1.{}_response", verb.to_lowercase());
        let mut answer =
            json!({"type": kind, "name": NAME, "id": id, "version": VERSION, "metadata": {}});
        let endpoints = self.endpoints.lock();
        match verb {
            "INFO" => {
                answer["description"] = json!("Services of the Gilmour protocol");
                answer["endpoints"] = endpoints.values().map(Endpoint::info).collect();
            }
            "STATS" => {
                let started = self.started.get().copied().unwrap_or_else(SystemTime::now);
                answer["started"] = json!(humantime::format_rfc3339_millis(started).to_string());
                answer["endpoints"] = endpoints.values().map(Endpoint::stats).collect();
            }
            _ => {}
        }
        answer
    }
}

impl Endpoint {
    fn info(&self) -> Value {
        let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
        let name: String = Kind::Request.topic_of(&self.subject).chars().map(allowed).collect();
        json!({"name": name, "subject": &*self.subject, "queue_group": self.group, "metadata": {}})
    }

    fn stats(&self) -> Value {
        let mut stats = self.info();
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        stats["num_requests"] = json!(self.requests);
        stats["num_errors"] = json!(self.errors);
        stats["last_error"] = json!(self.last_error);
        stats["processing_time"] = json!(nanos(self.took));
        let average = nanos(self.took).checked_div(self.requests).unwrap_or(0);
        stats["average_processing_time"] = json!(average);
        stats
    }
}

impl Inner {
    /// Begins to answer, once: with the first service. Without it the services work all the same.
    pub(super) async fn answer_micro(self: &Arc<Self>) {
        let begun = self.micro.started.get_or_try_init(|| self.begin_to_answer()).await;
        if let Err(error) = begun {
            tracing::debug!("services are not shown by `nats micro`: {error}");
        }
    }

    async fn begin_to_answer(self: &Arc<Self>) -> Result<SystemTime, Unreachable> {
        let client = self.connected().await?;
        let id = self.senders.prefix().trim_end_matches('-').to_owned();
        let mut subscribers = Vec::new();
        for verb in ["PING", "INFO", "STATS"] {
            for rest in ["".to_owned(), format!(".{NAME}"), format!(".{NAME}.{id}")] {
                let subscribed = client.subscribe(format!("$SRV.{verb}{rest}")).await;
                let failed = |error: SubscribeError| Unreachable::new("nats", error.to_string());
                subscribers.push((verb, subscribed.map_err(failed)?));
            }
        }
        self.acknowledged(client).await?;
        for (verb, subscriber) in subscribers {
            let (inner, id) = (self.clone(), id.clone());
            self.local
                .spawn_endless(async move { inner.tell_of_services(verb, &id, subscriber).await });
        }
        Ok(SystemTime::now())
    }

    async fn tell_of_services(&self, verb: &str, id: &str, mut asked: Subscriber) {
        while let Some(message) = asked.next().await {
            let answer = self.micro.answer(verb, id).to_string();
            if let Some(to) = message.reply
                && self.answer(to.as_str(), answer).await.is_err()
            {
                tracing::debug!("lost an answer about services");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Call, Data, Topic};

    #[test]
    fn names_of_endpoints_have_the_letters_that_nats_allows() {
        let micro = Micro::default();
        let topic = Topic::new("store.blöcke/2").unwrap();
        let nothing = |_: Call| std::future::ready(Message::ok(Data::null()));
        micro.add(1, &Registration::service(&topic, nothing));
        micro.count(1, Duration::from_micros(3), &Message::failure(503, "busy"));
        let stats = &micro.answer("STATS", "id")["endpoints"][0];
        assert_eq!(
            (&stats["name"], &stats["queue_group"]),
            (&json!("store-bl-cke-2"), &json!("_default"))
        );
        assert_eq!(
            (&stats["num_errors"], &stats["average_processing_time"]),
            (&json!(1), &json!(3000))
        );
        assert_eq!(stats["last_error"], "503: \"busy\"");
    }
}
