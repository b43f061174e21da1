//! The commands beside subscriptions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, cmd, pipe};
use tokio::time::Instant;

use crate::health::KNOWN_HOSTS;
use crate::ident::health_channel;
use crate::report::{ERROR, ERROR_QUEUE, ERRORS, QUEUE_LENGTH};
use crate::{ErrorPolicy, ErrorReport, Ident};

/// How long the key of a lock lives; it is never deleted.
const LOCK_SECONDS: u64 = 600;

/// How long it is believed that a topic has a subscriber. Publishing tells when that is wrong.
const BELIEVED: Duration = Duration::from_secs(1);
/// How many topics that is remembered of.
const BELIEFS: usize = 10_000;

/// The connection for commands, and what is known from them.
#[derive(Debug, Default)]
pub(super) struct Commands {
    connection: Mutex<Option<MultiplexedConnection>>,
    /// When each channel was seen to have a subscriber.
    subscribed: Mutex<HashMap<Arc<str>, Instant>>,
}

impl Commands {
    pub(super) fn connected(&self, connection: MultiplexedConnection) {
        *self.connection.lock() = Some(connection);
    }

    pub(super) fn disconnected(&self) {
        *self.connection.lock() = None;
        self.subscribed.lock().clear();
    }

    pub(super) fn connection(&self) -> Option<MultiplexedConnection> {
        self.connection.lock().clone()
    }

    /// Publishes; how many subscriptions it reached.
    pub(super) async fn publish(
        &self,
        mut connection: MultiplexedConnection,
        channel: &str,
        text: &str,
    ) -> RedisResult<u64> {
        cmd("PUBLISH").arg(channel).arg(text).query_async(&mut connection).await
    }

    /// Whether a channel has a subscriber, patterns not counted.
    pub(super) async fn has_subscriber(
        &self,
        mut connection: MultiplexedConnection,
        channel: &Arc<str>,
    ) -> RedisResult<bool> {
        if self.subscribed.lock().get(channel).is_some_and(|at| at.elapsed() < BELIEVED) {
            return Ok(true);
        }
        let mut ask = cmd("PUBSUB");
        let counted: (String, u64) =
            ask.arg("NUMSUB").arg(&**channel).query_async(&mut connection).await?;
        let has = counted.1 > 0;
        if has {
            let mut subscribed = self.subscribed.lock();
            if subscribed.len() >= BELIEFS {
                subscribed.clear();
            }
            subscribed.insert(channel.clone(), Instant::now());
        }
        Ok(has)
    }

    /// A channel turned out to have no subscriber.
    pub(super) fn forget(&self, channel: &str) {
        self.subscribed.lock().remove(channel);
    }

    /// Takes a message for a group; false when another member has it.
    pub(super) async fn lock(
        &self,
        mut connection: MultiplexedConnection,
        sender: &str,
        group: &str,
    ) -> RedisResult<bool> {
        let key = format!("{sender}{group}");
        let mut set = cmd("SET");
        set.arg(&key).arg(&key).arg("NX").arg("EX").arg(LOCK_SECONDS);
        let answer: Option<String> = set.query_async(&mut connection).await?;
        Ok(answer.is_some())
    }

    /// Makes this process known, and forgets those of this host that do not listen for heartbeats any more.
    pub(super) async fn announce(
        &self,
        mut connection: MultiplexedConnection,
        ident: &Ident,
    ) -> RedisResult<()> {
        let mut keys = cmd("HKEYS");
        let known: Vec<String> = keys.arg(KNOWN_HOSTS).query_async(&mut connection).await?;
        let others = known.iter().filter(|other| ident.is_of_same_host(other));
        for other in others.filter(|other| *other != ident.as_str()) {
            let mut count = cmd("PUBSUB");
            let channel = health_channel(other);
            let counted: (String, u64) =
                count.arg("NUMSUB").arg(&*channel).query_async(&mut connection).await?;
            if counted.1 == 0 {
                tracing::info!("process {other} of this host is gone; removing its ident");
                self.withdraw(connection.clone(), other).await?;
            }
        }
        let mut set = cmd("HSET");
        set.arg(KNOWN_HOSTS).arg(ident.as_str()).arg("true").query_async(&mut connection).await
    }

    /// Makes a process unknown.
    pub(super) async fn withdraw(
        &self,
        mut connection: MultiplexedConnection,
        ident: &str,
    ) -> RedisResult<()> {
        cmd("HDEL").arg(KNOWN_HOSTS).arg(ident).query_async(&mut connection).await
    }

    /// Publishes a report, or puts it into the queue.
    pub(super) async fn report(
        &self,
        mut connection: MultiplexedConnection,
        report: &ErrorReport,
        policy: ErrorPolicy,
        sender: &str,
    ) -> RedisResult<()> {
        let mut commands = pipe();
        match policy {
            ErrorPolicy::Ignore => return Ok(()),
            ErrorPolicy::Publish => {
                commands.cmd("PUBLISH").arg(ERRORS).arg(report.bare()).ignore();
                commands.cmd("PUBLISH").arg(ERROR).arg(report.wrapped(sender)).ignore();
            }
            ErrorPolicy::Queue => {
                commands.cmd("LPUSH").arg(ERROR_QUEUE).arg(report.bare()).ignore();
                commands.cmd("LTRIM").arg(ERROR_QUEUE).arg(0).arg(QUEUE_LENGTH - 1).ignore();
            }
        }
        commands.query_async(&mut connection).await
    }
}
