//! Acquires, renews and releases the leases of a receiver.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::Receiver;
use super::read::Group;
use crate::cursor::{self, Claimed, Cursor};
use crate::failure::Failure;
use crate::lease::{Acquired, Lease};
use crate::names;

/// Every so many rounds the leases themselves are asked, in case the mirror is behind.
const TRUSTED: u64 = 4;

/// Longer than any process runs.
const ALWAYS: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

type Leases = BTreeMap<u16, Lease>;

impl Receiver {
    /// Holds as many partitions as are this node's share, until the end.
    pub(super) async fn keep(self: Arc<Self>) {
        let (mut leases, mut rounds) = (Leases::new(), 0);
        let work = CancellationToken::new();
        let flushing = tokio::spawn(self.clone().flush_regularly(work.clone()));
        let mut readers = tokio::task::JoinSet::new();
        while !self.end.is_cancelled() {
            self.renew(&mut leases).await;
            self.rebalance(&mut leases).await;
            rounds += 1;
            if let Some(group) = self.acquire(&mut leases, rounds).await {
                readers.spawn(self.clone().read(group, work.clone()));
            }
            while readers.try_join_next().is_some() {}
            tokio::select! {
                () = self.end.cancelled() => {}
                _ = timeout(self.tick(), self.signals.free.notified()) => {}
            }
        }
        work.cancel();
        // Neither panics; a reader that is dropped reads nothing more.
        let _ = flushing.await;
        while readers.join_next().await.is_some() {}
        self.let_go(leases).await;
        // Until it expires, the other nodes leave this one its share.
        let member = names::member(self.name(), &self.cluster.settings.node);
        let _ = self.cluster.receivers.remove(&member, None).await;
    }

    /// Reads all partitions for this node alone, from where it started, without leases and cursors.
    pub(super) async fn keep_alone(self: Arc<Self>) {
        let mut group = Group { number: 0, partitions: Vec::new(), start: u64::MAX };
        for partition in self.cluster.names.partitions() {
            let cursor = Cursor::at(self.from);
            let claimed = Claimed { cursor, revision: 0, crashed: false };
            let start = self.held.lock().add(partition, claimed, 0, Instant::now() + ALWAYS);
            group.start = group.start.min(start);
            group.partitions.push((partition, 0));
        }
        let end = self.end.clone();
        self.read(group, end).await;
    }

    /// How often leases are renewed: three times before they run out.
    fn tick(&self) -> Duration {
        self.cluster.settings.lease * 3 / 10
    }

    async fn renew(&self, leases: &mut Leases) {
        self.announce().await;
        let ttl = self.cluster.settings.lease;
        let bucket = &self.cluster.receivers;
        let renewals = leases.iter_mut().map(|(partition, lease)| async move {
            (*partition, lease.renew(bucket, ttl).await, lease.epoch(), lease.until())
        });
        let renewed = join_all(renewals).await;
        for (partition, renewed, epoch, until) in renewed {
            match renewed {
                Ok(true) => self.held.lock().set_until(partition, epoch, until),
                Ok(false) => self.lose(partition, epoch),
                Err(failure) => {
                    tracing::debug!(
                        receiver = self.name(),
                        partition,
                        "cannot renew the lease now: {failure}"
                    );
                }
            }
        }
        // What was lost, by whichever way, is not renewed.
        let held = self.held.lock();
        leases.retain(|partition, lease| lease.is_valid() && held.holds(*partition, lease.epoch()));
    }

    /// Says that this node runs the receiver: partitions are shared among those who do.
    async fn announce(&self) {
        let key = names::member(self.name(), &self.cluster.settings.node);
        let ttl = self.cluster.settings.lease;
        if let Err(failure) = self.cluster.receivers.announce(&key, ttl).await {
            tracing::debug!(receiver = self.name(), "cannot announce this node now: {failure}");
        }
    }

    /// How many partitions this node holds when all nodes hold their share.
    fn share(&self) -> usize {
        let members = self.cluster.mirror.below(&names::members(self.name()));
        let own = names::member(self.name(), &self.cluster.settings.node);
        let others = members.iter().filter(|(key, _)| *key != own).count();
        self.cluster.names.partitions().len().div_ceil(others + 1)
    }

    /// Lets go of what exceeds the share, as soon as nothing of it is in flight.
    async fn rebalance(&self, leases: &mut Leases) {
        let surplus = leases.len().saturating_sub(self.share());
        if surplus > 0 {
            let mut held = self.held.lock();
            leases.keys().rev().take(surplus).for_each(|partition| held.leave(*partition));
        }
        let left = self.held.lock().left();
        if left.is_empty() {
            return;
        }
        let leaving = left.into_iter().filter_map(|p| leases.remove_entry(&p)).collect();
        self.let_go(leaving).await;
    }

    /// Writes the cursors of these partitions for the last time, and releases their leases.
    async fn let_go(&self, leases: Leases) {
        self.flush().await;
        join_all(leases.into_iter().map(|(partition, lease)| self.release(partition, lease))).await;
    }

    async fn release(&self, partition: u16, lease: Lease) {
        let Some(held) = self.held.lock().remove(partition) else { return };
        let mut cursor = held.cursor;
        (cursor.released, cursor.trying) = (true, None);
        let key = names::cursor(self.name(), partition);
        let bucket = &self.cluster.receivers;
        // Without it, the next holder is careful for a while; without the release, it waits for the lease to run out.
        if let Err(failure) = cursor.write(bucket, &key, held.revision).await {
            tracing::warn!(receiver = self.name(), partition, "cannot write the cursor: {failure}");
        }
        if let Err(failure) = lease.release(bucket).await {
            tracing::warn!(
                receiver = self.name(),
                partition,
                "cannot release the lease: {failure}"
            );
        }
    }

    /// Takes leases that are free, up to this node's share. What was acquired together is read together.
    async fn acquire(&self, leases: &mut Leases, number: u64) -> Option<Group> {
        let wanted = self.share().saturating_sub(leases.len());
        let trust = !number.is_multiple_of(TRUSTED);
        let free: Vec<_> = self.free(leases, trust).take(wanted).collect();
        let acquired =
            join_all(free.into_iter().map(|partition| self.acquire_one(partition))).await;
        let mut group = Group { number, partitions: Vec::new(), start: u64::MAX };
        for (partition, lease, claimed) in acquired.into_iter().flatten() {
            let (epoch, until) = (lease.epoch(), lease.until());
            let start = self.held.lock().add(partition, claimed, number, until);
            group.start = group.start.min(start);
            group.partitions.push((partition, epoch));
            leases.insert(partition, lease);
        }
        (!group.partitions.is_empty()).then_some(group)
    }

    /// The partitions that may be free. `trust`: leaves out those that the mirror says are held.
    fn free<'a>(&'a self, leases: &'a Leases, trust: bool) -> impl Iterator<Item = u16> + 'a {
        let is_held = move |partition: u16| {
            let lease = names::lease(self.name(), partition);
            let is_seen = || trust && self.cluster.mirror.get(&lease).is_some();
            leases.contains_key(&partition) || is_seen()
        };
        self.cluster.names.partitions().filter(move |partition| !is_held(*partition))
    }

    async fn acquire_one(&self, partition: u16) -> Option<(u16, Lease, Claimed)> {
        match self.try_acquire(partition).await {
            Ok(acquired) => acquired.map(|(lease, claimed)| (partition, lease, claimed)),
            Err(Failure::NotFound(_)) => {
                self.not_reading(format!(
                    "the bucket {} was deleted, and with it the cursors of all receivers; stop all nodes and restore it",
                    self.cluster.names.receivers()
                ));
                None
            }
            Err(failure) => {
                tracing::debug!(
                    receiver = self.name(),
                    partition,
                    "cannot acquire the lease now: {failure}"
                );
                None
            }
        }
    }

    async fn try_acquire(&self, partition: u16) -> Result<Option<(Lease, Claimed)>, Failure> {
        let cluster = &self.cluster;
        let key = names::lease(self.name(), partition);
        let (node, ttl) = (&cluster.settings.node, cluster.settings.lease);
        let lease = match Lease::acquire(&cluster.receivers, &key, node, ttl).await? {
            Acquired::Yes(lease) => lease,
            Acquired::No => return Ok(None),
        };
        match self.claim(partition, &lease).await {
            Ok(Some(claimed)) => Ok(Some((lease, claimed))),
            not_claimed => {
                // Whatever happens to the release, nothing is read under a lease without a claim.
                let _ = lease.release(&cluster.receivers).await;
                not_claimed.map(|_| None)
            }
        }
    }

    /// Claims the cursor for as long as the lease is valid. None if the stream is not the one that the cursor is of.
    async fn claim(&self, partition: u16, lease: &Lease) -> Result<Option<Claimed>, Failure> {
        let key = names::cursor(self.name(), partition);
        let (bucket, node) = (&self.cluster.receivers, &self.cluster.settings.node);
        loop {
            let claimed = cursor::claim(bucket, &key, self.from, node, lease.epoch()).await;
            match claimed {
                Ok(Some(claimed)) => return self.check(claimed).await,
                Ok(None) => return Ok(None),
                Err(failure) if !lease.is_valid() => return Err(failure),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// A cursor behind the end of the stream belongs to a stream that was deleted and created again.
    async fn check(&self, claimed: Claimed) -> Result<Option<Claimed>, Failure> {
        let state = self.cluster.stream_state().await?;
        let reached = claimed.cursor.position().sequence();
        if reached <= state.last_seq {
            return Ok(Some(claimed));
        }
        self.not_reading(format!(
            "the stream {} ends at {}, but this receiver has confirmed messages up to {reached}: the stream was created again; \
             see what is lost, then `poa-server receivers forget {}`",
            self.cluster.names.stream(),
            state.last_seq,
            self.name()
        ));
        Ok(None)
    }

    /// Says once why nothing is read; the status keeps it.
    fn not_reading(&self, error: String) {
        if self.broken.lock().replace(error.clone()).as_ref() != Some(&error) {
            tracing::error!(receiver = self.name(), "not reading: {error}");
        }
    }
}
