//! The connection: made when it is first needed, and again when it is lost.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, ServerError};
use futures_util::StreamExt as _;

use super::{Inner, PATIENCE};
use crate::engine::{State, Unreachable};
use crate::reconnect;

/// How long connecting to one server may take.
const CONNECTING: Duration = Duration::from_secs(2);
/// How long a silent connection is trusted; the client gives it up after three of these.
const PING_EVERY: Duration = Duration::from_secs(2);
/// How many refusals are remembered.
const REFUSALS: usize = 1000;

impl Inner {
    /// The client, which may not be connected.
    pub(super) async fn client(self: &Arc<Self>) -> Result<&Client, Unreachable> {
        self.client.get_or_try_init(|| self.make_client()).await
    }

    async fn make_client(self: &Arc<Self>) -> Result<Client, Unreachable> {
        let inner = Arc::downgrade(self);
        let options = ConnectOptions::new()
            .name("gilmour")
            .retry_on_initial_connect()
            .connection_timeout(CONNECTING)
            .ping_interval(PING_EVERY)
            .reconnect_delay_callback(|attempts| {
                reconnect::wait(u32::try_from(attempts).unwrap_or(u32::MAX).saturating_sub(1))
            })
            .event_callback(move |event| {
                let inner = inner.clone();
                async move {
                    if let Some(inner) = inner.upgrade() {
                        inner.happened(event);
                    }
                }
            });
        let failed = |error: &dyn std::fmt::Display| Unreachable::new("nats", error.to_string());
        let client = options.connect(self.servers.clone()).await.map_err(|e| failed(&e))?;
        let replies = client.subscribe(format!("{}.*", self.inbox)).await;
        let mut replies = replies.map_err(|error| failed(&error))?;
        let inner = self.clone();
        self.local.spawn_endless(async move {
            while let Some(reply) = replies.next().await {
                inner.replied(reply);
            }
        });
        Ok(client)
    }

    fn replied(&self, reply: async_nats::Message) {
        let sender = reply.subject.as_str().get(self.inbox.len() + 1..).unwrap_or_default();
        let sender = sender.to_owned();
        if !self.pending.settle(&sender, Ok(reply)) {
            self.local.counts.late_replies.add();
        }
    }

    fn happened(self: &Arc<Self>, event: Event) {
        match event {
            Event::Connected => {
                let epoch = self.epoch.fetch_add(1, SeqCst) + 1;
                let inner = self.clone();
                self.local.spawn_endless(async move { inner.stand(epoch).await });
            }
            Event::Disconnected | Event::Closed => {
                self.epoch.fetch_add(1, SeqCst);
                self.lost("the connection was lost");
            }
            Event::ClientError(error) => self.failed_to_connect(&error.to_string()),
            Event::ServerError(ServerError::Other(text)) => self.refused(&text),
            other => tracing::debug!("nats: {other}"),
        }
    }

    /// Waits until the server has processed all subscriptions: then the engine is up.
    async fn stand(&self, epoch: u64) {
        // The client is there once it has said that it is connected, or in a moment.
        let client = loop {
            match self.client.get() {
                Some(client) => break client,
                None => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        };
        while self.epoch.load(SeqCst) == epoch {
            if self.acknowledged(client).await.is_err() {
                continue;
            }
            if self.epoch.load(SeqCst) == epoch {
                self.state.send_replace(State::Up);
                self.tried.send_replace(true);
                tracing::info!("connected to nats at {}", self.shown_servers());
            }
            return;
        }
    }

    fn shown_servers(&self) -> String {
        let servers =
            self.servers.iter().map(|server| format!("{}:{}", server.host(), server.port()));
        servers.collect::<Vec<_>>().join(", ")
    }

    fn lost(&self, cause: &str) {
        let was_up = self.state.send_replace(State::Down(cause.into())).is_up();
        if was_up && !self.local.has_ended() {
            self.local.counts.disconnects.add();
            tracing::warn!("lost nats, connecting again: {cause}");
        }
        self.pending.settle_all(|| Err(Unreachable::new("nats", cause)));
    }

    fn failed_to_connect(&self, why: &str) {
        tracing::debug!("cannot connect to nats: {why}");
        self.state.send_if_modified(|state| {
            let down = !state.is_up();
            if down {
                *state = State::Down(why.into());
            }
            down
        });
        self.tried.send_replace(true);
    }

    /// The server says which subject it refuses in quotation marks.
    fn refused(&self, text: &str) {
        tracing::warn!("nats refuses: {text}");
        let Some(subject) = text.split('"').nth(1) else { return };
        let mut refusals = self.refusals.lock();
        if refusals.len() < REFUSALS {
            refusals.insert(subject.to_owned(), text.to_owned());
        }
    }

    pub(super) fn unreachable(&self) -> Unreachable {
        let cause = match &*self.state.borrow() {
            State::Down(cause) => cause.clone(),
            State::Up => "the connection was lost".into(),
        };
        Unreachable::new("nats", cause)
    }

    /// The client, if it is connected. The first use of an engine waits for its first attempt to connect.
    pub(super) async fn connected(self: &Arc<Self>) -> Result<&Client, Unreachable> {
        let client = self.client().await?;
        if !*self.tried.borrow() {
            let mut tried = self.tried.subscribe();
            let _ = tokio::time::timeout(PATIENCE, tried.wait_for(|tried| *tried)).await;
        }
        if self.state.borrow().is_up() { Ok(client) } else { Err(self.unreachable()) }
    }

    /// Waits until the server has processed what was sent before: it answers in order, that nothing listens there.
    pub(super) async fn acknowledged(&self, client: &Client) -> Result<(), Unreachable> {
        let unused = format!("gilmour.ack.{}", self.senders.next());
        let asked = self.ask(client, unused, String::new());
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(Ok(_))) => Ok(()),
            Ok(Ok(Err(error))) => Err(error),
            Ok(Err(_)) => Err(self.unreachable()),
            Err(_) => Err(Unreachable::new("nats", "the server did not answer in time")),
        }
    }
}
