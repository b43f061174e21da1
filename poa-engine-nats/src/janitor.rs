//! Removes from the stream what every receiver has confirmed.
//!
//! Each partition is purged by itself, below the least of its cursors: a partition in which nothing happens does not hold up the others.
//! Nothing that is younger than the deduplication window goes, because a message that is sent again is compared with the first.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::lease::{Acquired, Lease};

/// How often it looks.
const EVERY: Duration = Duration::from_secs(5);
/// The lease of the node that cleans up.
const KEY: &str = "janitor";

/// The work of a node while it has the lease.
pub(crate) struct Janitor {
    cluster: Arc<Cluster>,
    window: Duration,
    lease: Option<Lease>,
    /// The end of the stream at earlier times, oldest first.
    ends: VecDeque<(Instant, u64)>,
    /// Up to where each partition was purged.
    purged: Vec<u64>,
}

impl Janitor {
    pub(crate) fn new(cluster: Arc<Cluster>, window: Duration) -> Self {
        let purged = vec![0; cluster.names.partitions().len()];
        Self { cluster, window, lease: None, ends: VecDeque::new(), purged }
    }

    /// Looks at the stream regularly, and cleans up while this node has the lease. Never ends.
    pub(crate) async fn run(mut self) {
        loop {
            if let Err(failure) = self.round().await {
                tracing::debug!("cannot clean up now: {failure}");
            }
            tokio::time::sleep(EVERY.min(self.window.max(Duration::from_millis(500)))).await;
        }
    }

    async fn round(&mut self) -> Result<(), Failure> {
        if !self.has_lease().await? {
            return Ok(());
        }
        let state = self.cluster.stream_state().await?;
        let old = self.old_enough(state.last_seq);
        for partition in self.cluster.names.partitions() {
            let end = self.confirmed(partition).min(old);
            if end > self.purged[usize::from(partition)] {
                self.purge(partition, end).await?;
                self.purged[usize::from(partition)] = end;
            }
        }
        Ok(())
    }

    async fn has_lease(&mut self) -> Result<bool, Failure> {
        // Longer than two rounds.
        let ttl = self.cluster.settings.lease.max(EVERY * 3);
        let bucket = &self.cluster.receivers;
        if let Some(lease) = self.lease.as_mut() {
            if lease.renew(bucket, ttl).await? {
                return Ok(lease.is_valid());
            }
            self.lease = None;
        }
        let acquired = Lease::acquire(bucket, KEY, &self.cluster.settings.node, ttl).await?;
        if let Acquired::Yes(lease) = acquired {
            self.lease = Some(lease);
        }
        Ok(self.lease.is_some())
    }

    /// The last message of the stream that is older than the window.
    fn old_enough(&mut self, last: u64) -> u64 {
        let now = Instant::now();
        self.ends.push_back((now, last));
        let mut found = 0;
        while let Some((at, end)) = self.ends.front().copied() {
            if now - at < self.window {
                break;
            }
            found = end;
            self.ends.pop_front();
        }
        if found > 0 {
            // The next round finds at least as much.
            self.ends.push_front((now - self.window, found));
        }
        found
    }

    /// The last message of the stream that every receiver has confirmed in a partition. Without receivers,
    /// all of them.
    fn confirmed(&self, partition: u16) -> u64 {
        let all = self.cluster.registrations();
        let reached = all.iter().map(|(receiver, registration)| {
            let cursor = self.cluster.cursor_of(receiver, partition);
            let position = cursor.map_or(registration.from(), |cursor| cursor.position());
            position.resume_at().saturating_sub(1)
        });
        reached.min().unwrap_or(u64::MAX)
    }

    async fn purge(&self, partition: u16, end: u64) -> Result<(), Failure> {
        let names = &self.cluster.names;
        let body = json!({ "filter": names.partition_subjects(partition), "seq": end + 1 });
        let subject = format!("STREAM.PURGE.{}", names.stream());
        self.cluster.contact.api::<Value>(&subject, &body).await.map(|_| ())
    }
}
