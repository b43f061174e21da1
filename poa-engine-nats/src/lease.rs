//! A right that one node has at a time, for as long as it renews it.
//!
//! A lease is a key with a time to live. Its holder counts that time from before it sent the write, so it stops using the lease before
//! the servers let another node have it, whatever the clocks say. The sequence of the acquiring write is the *epoch*: it grows with every
//! holder, and what a holder writes elsewhere carries it, so that a holder that was stopped and continues is refused.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::bucket::{Bucket, Slot};
use crate::failure::Failure;

/// A lease that is held.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    key: String,
    held: Held,
    epoch: u64,
    /// The last write that is known to have been stored.
    revision: u64,
    until: Instant,
}

/// The value of the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    owner: String,
    /// Tells two acquisitions of one owner apart.
    nonce: u64,
}

/// The outcome of an attempt to acquire a lease.
#[derive(Debug)]
pub(crate) enum Acquired {
    /// It is held now.
    Yes(Lease),
    /// Another node holds it.
    No,
}

/// The part of a time to live during which a lease is used.
fn usable(ttl: Duration) -> Duration {
    ttl * 9 / 10
}

impl Lease {
    /// Takes the lease if it is free.
    pub(crate) async fn acquire(
        bucket: &Bucket,
        key: &str,
        owner: &str,
        ttl: Duration,
    ) -> Result<Acquired, Failure> {
        let held = Held { owner: owner.to_owned(), nonce: fastrand::u64(..) };
        let slot = bucket.read(key).await?;
        if holder(&slot).is_some() {
            return Ok(Acquired::No);
        }
        let sent = Instant::now();
        let revision = match bucket.write(key, held.bytes(), slot.revision, Some(ttl)).await {
            Ok(revision) => revision,
            // It may have been stored all the same, or another node was faster.
            Err(Failure::Unanswered | Failure::WrongSequence) => {
                let slot = bucket.read(key).await?;
                match holder(&slot) {
                    Some(now) if now == held => slot.revision,
                    Some(_) => return Ok(Acquired::No),
                    None => return Err(Failure::Unanswered),
                }
            }
            Err(failure) => return Err(failure),
        };
        let (key, until) = (key.to_owned(), sent + usable(ttl));
        Ok(Acquired::Yes(Self { key, held, epoch: revision, revision, until }))
    }

    /// The number that grows with every holder.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// When it must not be used any more.
    pub(crate) fn until(&self) -> Instant {
        self.until
    }

    pub(crate) fn is_valid(&self) -> bool {
        Instant::now() < self.until
    }

    /// Holds the lease for longer. `Ok(false)` when another node holds it.
    pub(crate) async fn renew(&mut self, bucket: &Bucket, ttl: Duration) -> Result<bool, Failure> {
        let sent = Instant::now();
        let value = self.held.bytes();
        match bucket.write(&self.key, value, self.revision, Some(ttl)).await {
            Ok(revision) => {
                self.revision = revision;
                self.until = sent + usable(ttl);
                Ok(true)
            }
            Err(Failure::WrongSequence) => self.adopt(bucket).await,
            Err(failure) => Err(failure),
        }
    }

    /// A write of this holder that was not answered may have been stored after all: the next one continues from it. When it was sent is
    /// not known any more, so the lease lasts no longer by it.
    async fn adopt(&mut self, bucket: &Bucket) -> Result<bool, Failure> {
        let slot = bucket.read(&self.key).await?;
        let is_own = holder(&slot).is_some_and(|holder| holder == self.held);
        if is_own {
            self.revision = slot.revision;
        }
        Ok(is_own)
    }

    /// Lets another node have it at once.
    pub(crate) async fn release(self, bucket: &Bucket) -> Result<(), Failure> {
        match bucket.remove(&self.key, Some(self.revision)).await {
            Err(Failure::WrongSequence) => Ok(()),
            other => other,
        }
    }
}

impl Held {
    fn bytes(&self) -> bytes::Bytes {
        // A struct of a text and a number can be written.
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

fn holder(slot: &Slot) -> Option<Held> {
    // What is not readable was not written by a node, and holds nothing.
    serde_json::from_slice(slot.value.as_deref()?).ok()
}

/// The owner of the lease that has this value.
pub(crate) fn owner(value: &[u8]) -> Option<String> {
    serde_json::from_slice(value).ok().map(|held: Held| held.owner)
}

#[cfg(test)]
mod tests {
    use async_nats::ConnectOptions;
    use serde_json::Value;

    use super::*;
    use crate::bucket;
    use crate::contact::Contact;
    use crate::cursor::{self, Cursor};
    use crate::pack::Position;

    const TTL: Duration = Duration::from_secs(2);

    async fn bucket() -> Bucket {
        let servers = poa_test_nats::shared_cluster();
        let contact = Contact::open(ConnectOptions::new(), &servers).await.unwrap();
        let name = format!("lease{:08x}", fastrand::u32(..));
        let config = bucket::config(&name, 3);
        let created = contact.api::<Value>(&format!("STREAM.CREATE.KV_{name}"), &config).await;
        created.unwrap();
        Bucket::new(contact, name)
    }

    async fn acquire(bucket: &Bucket, owner: &str) -> Option<Lease> {
        match Lease::acquire(bucket, "l", owner, TTL).await.unwrap() {
            Acquired::Yes(lease) => Some(lease),
            Acquired::No => None,
        }
    }

    async fn acquire_when_free(bucket: &Bucket, owner: &str) -> Lease {
        loop {
            match acquire(bucket, owner).await {
                Some(lease) => return lease,
                None => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    async fn claim(bucket: &Bucket, lease: &Lease, owner: &str) -> cursor::Claimed {
        let from = Position::end_of(0);
        cursor::claim(bucket, "c", from, owner, lease.epoch()).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn one_holds_a_lease_until_it_is_released_or_runs_out() {
        let bucket = bucket().await;
        let mut one = acquire(&bucket, "one").await.unwrap();
        assert!(acquire(&bucket, "two").await.is_none());
        assert!(one.renew(&bucket, TTL).await.unwrap());
        one.release(&bucket).await.unwrap();
        let two = acquire(&bucket, "two").await.unwrap();
        assert!(acquire(&bucket, "one").await.is_none());
        let one = acquire_when_free(&bucket, "one").await;
        assert!(one.epoch() > two.epoch() && !two.is_valid());
    }

    #[tokio::test]
    async fn a_holder_that_was_stopped_writes_nothing_any_more() {
        let bucket = bucket().await;
        let mut stopped = acquire(&bucket, "stopped").await.unwrap();
        let old = claim(&bucket, &stopped, "stopped").await;
        assert!(!old.crashed);
        // It does nothing until its lease has run out, as under SIGSTOP.
        let next = acquire_when_free(&bucket, "next").await;
        let new = claim(&bucket, &next, "next").await;
        assert!(new.crashed, "it did not let go");
        assert!(!stopped.is_valid());
        let mut cursor = old.cursor;
        cursor.advance(Position::end_of(7));
        assert_eq!(cursor.write(&bucket, "c", old.revision).await, Ok(None));
        assert_eq!(stopped.renew(&bucket, TTL).await, Ok(false));
        let mut cursor = new.cursor;
        cursor.advance(Position::end_of(3));
        assert!(cursor.write(&bucket, "c", new.revision).await.unwrap().is_some());
        let (found, _) = cursor::read(&bucket, "c", Position::end_of(0)).await.unwrap();
        assert_eq!(found.position(), Position::end_of(3));
    }

    #[tokio::test]
    async fn a_write_of_ones_own_that_was_not_answered_is_adopted() {
        let bucket = bucket().await;
        let mut lease = acquire(&bucket, "one").await.unwrap();
        let claimed = claim(&bucket, &lease, "one").await;
        let mut cursor = claimed.cursor;
        cursor.advance(Position::end_of(5));
        // Stored, but this node did not hear of it.
        cursor.write(&bucket, "c", claimed.revision).await.unwrap().unwrap();
        cursor.advance(Position::end_of(6));
        assert!(cursor.write(&bucket, "c", claimed.revision).await.unwrap().is_some());
        let mut twin = lease.clone();
        assert!(lease.renew(&bucket, TTL).await.unwrap());
        assert!(twin.renew(&bucket, TTL).await.unwrap());
    }

    #[tokio::test]
    async fn a_cursor_of_a_later_holder_is_not_claimed() {
        let bucket = bucket().await;
        let mut later = Cursor::at(Position::end_of(9));
        later.epoch = 1000;
        later.write(&bucket, "c", 0).await.unwrap().unwrap();
        let from = Position::end_of(0);
        assert!(cursor::claim(&bucket, "c", from, "old", 999).await.unwrap().is_none());
    }
}
