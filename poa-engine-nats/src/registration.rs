//! The registered receivers: every message is kept until all of them have confirmed it.

use std::collections::BTreeSet;

use poa_core::WhenFull;
use poa_core::engine::SubscriptionRequest;
use serde::{Deserialize, Serialize};

use crate::bucket::Bucket;
use crate::failure::Failure;
use crate::names::{self, untoken};
use crate::pack::Position;

/// The request of a receiver, as it is in the bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Registration {
    /// The position to start at in a partition that has no cursor yet.
    from: u64,
    /// The names of the data types it gets.
    pub(crate) types: BTreeSet<String>,
    /// Whether `ack = "delivered"` waits for it.
    pub(crate) critical: bool,
    /// Whether messages are refused when its backlog is full.
    pub(crate) refuse: bool,
    /// The bounds of its backlog.
    pub(crate) max_bytes: Option<u64>,
    pub(crate) max_age_ms: Option<u64>,
    /// The nodes that run it. A node that is down stays here.
    pub(crate) nodes: BTreeSet<String>,
}

impl Registration {
    pub(crate) fn new(
        request: &SubscriptionRequest,
        types: BTreeSet<String>,
        from: u64,
        node: &str,
    ) -> Self {
        let backlog = &request.backlog;
        Self {
            from: Position::end_of(from).raw(),
            types,
            critical: request.critical,
            refuse: backlog.when_full == WhenFull::Refuse,
            max_bytes: backlog.max_bytes.map(|size| size.get()),
            max_age_ms: backlog.max_age.map(|age| age.get().as_millis() as u64),
            nodes: BTreeSet::from([node.to_owned()]),
        }
    }

    pub(crate) fn from(&self) -> Position {
        Position::from_raw(self.from)
    }

    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        serde_json::from_slice(value).ok()
    }

    /// Writes the registration; the place where it starts and the other nodes stay as they are.
    pub(crate) async fn write(
        mut self,
        bucket: &Bucket,
        receiver: &str,
    ) -> Result<(Self, u64), Failure> {
        let key = names::registration(receiver);
        let own = self.nodes.clone();
        loop {
            let slot = bucket.read(&key).await?;
            if let Some(known) = slot.value.as_deref().and_then(Self::parse) {
                self.from = known.from;
                self.nodes = known.nodes.union(&own).cloned().collect();
                if known == self {
                    return Ok((self, slot.revision));
                }
            }
            match bucket.write(&key, self.bytes(), slot.revision, None).await {
                Ok(revision) => return Ok((self, revision)),
                Err(Failure::WrongSequence) => {}
                Err(failure) => return Err(failure),
            }
        }
    }

    fn bytes(&self) -> bytes::Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

/// Removes this node from a registration, and the receiver with all its cursors if no node runs it any more.
///
/// Returns whether the receiver is gone.
pub(crate) async fn leave(bucket: &Bucket, receiver: &str, node: &str) -> Result<bool, Failure> {
    let key = names::registration(receiver);
    loop {
        let slot = bucket.read(&key).await?;
        let known = slot.value.as_deref().and_then(Registration::parse);
        let Some(mut known) = known else { return Ok(true) };
        known.nodes.remove(node);
        if known.nodes.is_empty() {
            forget(bucket, receiver).await?;
            return Ok(true);
        }
        match bucket.write(&key, known.bytes(), slot.revision, None).await {
            Ok(_) => return Ok(false),
            Err(Failure::WrongSequence) => {}
            Err(failure) => return Err(failure),
        }
    }
}

/// Removes a receiver and all its cursors. Its backlog is discarded.
pub(crate) async fn forget(bucket: &Bucket, receiver: &str) -> Result<(), Failure> {
    // The registration first: without it, nothing waits for the cursors.
    bucket.remove(&names::registration(receiver), None).await?;
    let pattern = format!("c.{}.*", names::token(receiver));
    for cursor in bucket.keys(&pattern).await? {
        bucket.remove(&cursor, None).await?;
    }
    Ok(())
}

/// The receiver of a key `r.<receiver>`, `c.<receiver>.<partition>` or `l.<receiver>.<partition>`, and its partition.
pub(crate) fn receiver_of(key: &str) -> Option<(String, Option<u16>)> {
    let mut parts = key.split('.').skip(1);
    let receiver = untoken(parts.next()?)?;
    Some((receiver, parts.next().and_then(|part| part.parse().ok())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_their_receiver() {
        for receiver in ["local", "a.b"] {
            let key = names::cursor(receiver, 7);
            assert_eq!(receiver_of(&key), Some((receiver.to_owned(), Some(7))));
            let key = names::registration(receiver);
            assert_eq!(receiver_of(&key), Some((receiver.to_owned(), None)));
        }
    }
}
