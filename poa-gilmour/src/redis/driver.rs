//! The task that holds the connection: subscribes, ends subscriptions, listens, and connects again.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use redis::aio::{PubSubSink, PubSubStream};
use redis::{AsyncConnectionConfig, RedisError};

use super::link::Key;
use super::{Inner, RESPONSE};
use crate::engine::Unreachable;
use crate::reconnect::wait;

/// How long connecting, a command and an acknowledgement may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a silent connection is trusted.
const PING_EVERY: Duration = Duration::from_secs(2);
/// How many channels are named in one command.
const CHANNELS_AT_ONCE: usize = 256;

/// Why a connection ended.
type Cause = String;

impl Inner {
    /// Connects, and connects again, until the engine ends.
    pub(super) async fn stay_connected(self: Arc<Self>) {
        let mut failures = 0;
        loop {
            let cause = match self.connect().await {
                Ok((sink, stream)) => {
                    failures = 0;
                    tokio::select! {
                        cause = self.hold(sink) => cause,
                        () = self.listen(stream) => "the server closed the connection".to_owned(),
                        () = self.link.breaks() => "a command failed".to_owned(),
                    }
                }
                Err(cause) => cause,
            };
            self.lost(&cause);
            tokio::time::sleep(wait(failures)).await;
            failures += 1;
        }
    }

    async fn connect(&self) -> Result<(PubSubSink, PubSubStream), Cause> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let commands = self.client.get_multiplexed_async_connection_with_config(&config);
        let commands = commands.await.map_err(told)?;
        let subscriber = within(self.client.get_async_pubsub()).await?;
        let (mut sink, stream) = subscriber.split();
        within(sink.psubscribe(self.replies())).await?;
        self.commands.connected(commands);
        Ok((sink, stream))
    }

    /// The pattern of the channels of all replies to this process.
    pub(super) fn replies(&self) -> String {
        format!("{RESPONSE}{}*", self.senders.prefix())
    }

    /// Takes up all subscriptions again, then those that change; returns the reason when it cannot continue.
    async fn hold(&self, mut sink: PubSubSink) -> Cause {
        let (exact, patterns) = self.local.channels();
        let exact = exact.into_iter().map(Key::exact);
        let patterns = patterns.into_iter().map(|channel| Key { channel, pattern: true });
        self.link.connected(exact.chain(patterns));
        loop {
            if let Err(cause) = self.settle(&mut sink).await {
                return cause;
            }
            if self.link.up() {
                tracing::info!(
                    "connected to redis at {}",
                    self.client.get_connection_info().addr()
                );
                self.announce_again().await;
            }
            tokio::select! {
                () = self.link.changes() => {}
                () = tokio::time::sleep(PING_EVERY) => {
                    if let Err(cause) = within(sink.ping::<redis::Value>()).await {
                        return cause;
                    }
                }
            }
        }
    }

    /// Tells the server what has changed.
    async fn settle(&self, sink: &mut PubSubSink) -> Result<(), Cause> {
        let (begin, end) = self.link.take_changes(|key| self.local.has(&key.channel, key.pattern));
        for pattern in [false, true] {
            for keys in of(&end, pattern).chunks(CHANNELS_AT_ONCE) {
                unsubscribe(sink, keys, pattern).await?;
                self.link.ended(keys);
            }
            for keys in of(&begin, pattern).chunks(CHANNELS_AT_ONCE) {
                self.begin(sink, keys, pattern).await?;
            }
        }
        Ok(())
    }

    /// Subscribes to all of these at once, or one by one when the server refuses one of them.
    async fn begin(&self, sink: &mut PubSubSink, keys: &[Key], pattern: bool) -> Result<(), Cause> {
        match subscribe(sink, keys, pattern).await? {
            Ok(()) => self.link.stand(keys),
            Err(refusal) if keys.len() == 1 => self.refused(&keys[0], &refusal),
            Err(_) => {
                for key in keys {
                    match subscribe(sink, std::slice::from_ref(key), pattern).await? {
                        Ok(()) => self.link.stand(std::slice::from_ref(key)),
                        Err(refusal) => self.refused(key, &refusal),
                    }
                }
            }
        }
        Ok(())
    }

    fn refused(&self, key: &Key, why: &RedisError) {
        tracing::warn!(channel = &*key.channel, "redis refuses a subscription: {why}");
        self.link.refused(key, &why.to_string());
    }

    /// Passes on what comes, until nothing more does.
    async fn listen(self: &Arc<Self>, mut stream: PubSubStream) {
        while let Some(message) = stream.next().await {
            self.received(&message);
        }
    }

    /// Idents live in the server, which may have been restarted without them.
    async fn announce_again(&self) {
        let idents = self.idents.lock().clone();
        for ident in &idents {
            if let Some(connection) = self.commands.connection()
                && let Err(error) = self.commands.announce(connection, ident).await
            {
                tracing::warn!("ident {ident} is not known to monitors: {error}");
            }
        }
    }

    fn lost(&self, cause: &str) {
        self.commands.disconnected();
        if self.link.down(cause) && !self.local.has_ended() {
            self.local.counts.disconnects.add();
            tracing::warn!("lost redis, connecting again: {cause}");
        } else {
            tracing::debug!("cannot connect to redis: {cause}");
        }
        self.pending.settle_all(|| Err(Unreachable::new("redis", cause)));
    }
}

fn of(keys: &[Key], pattern: bool) -> Vec<Key> {
    keys.iter().filter(|key| key.pattern == pattern).cloned().collect()
}

/// The outer error ends the connection, the inner one is a refusal.
async fn subscribe(
    sink: &mut PubSubSink,
    keys: &[Key],
    pattern: bool,
) -> Result<Result<(), RedisError>, Cause> {
    let names: Vec<&str> = keys.iter().map(|key| &*key.channel).collect();
    let subscribed = tokio::time::timeout(PATIENCE, async {
        if pattern { sink.psubscribe(&names).await } else { sink.subscribe(&names).await }
    });
    match subscribed.await {
        Ok(Err(error)) if error.is_unrecoverable_error() || error.is_io_error() => Err(told(error)),
        Ok(answer) => Ok(answer),
        Err(_) => Err(too_slow()),
    }
}

async fn unsubscribe(sink: &mut PubSubSink, keys: &[Key], pattern: bool) -> Result<(), Cause> {
    let names: Vec<&str> = keys.iter().map(|key| &*key.channel).collect();
    if pattern {
        within(sink.punsubscribe(&names)).await
    } else {
        within(sink.unsubscribe(&names)).await
    }
}

async fn within<T>(answer: impl Future<Output = Result<T, RedisError>>) -> Result<T, Cause> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => answer.map_err(told),
        Err(_) => Err(too_slow()),
    }
}

fn told(error: RedisError) -> Cause {
    error.to_string()
}

fn too_slow() -> Cause {
    format!("the server did not answer within {} s", PATIENCE.as_secs())
}
