//! How far a receiver is in a partition.

use serde::{Deserialize, Serialize};

use crate::bucket::Bucket;
use crate::failure::Failure;
use crate::pack::Position;
use crate::trying::Trying;

/// The most positions of messages that were set aside which a cursor keeps, for front ends that wait to hear of them.
const MOST_LOST: usize = 64;

/// The cursor of a receiver in a partition, as it is in the bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// Everything up to this position is done with.
    position: u64,
    /// The epoch of the lease it was written under.
    pub(crate) epoch: u64,
    /// The node that wrote it.
    pub(crate) owner: String,
    /// Whether that node has let go of the partition in order.
    #[serde(default)]
    pub(crate) released: bool,
    /// The messages that were in flight when this was written after a node ended, and how often one ended over them.
    #[serde(default)]
    pub(crate) trying: Option<Trying>,
    /// The last messages that were set aside instead of delivered.
    #[serde(default)]
    lost: Vec<u64>,
    /// About how many messages wait.
    #[serde(default)]
    pub(crate) waiting: u64,
    /// About how many bytes wait.
    #[serde(default)]
    pub(crate) waiting_bytes: u64,
    /// When the oldest of them was received, in microseconds since 1970.
    #[serde(default)]
    pub(crate) oldest: Option<u64>,
    /// When it was written, in microseconds since 1970 by the clock of the node.
    #[serde(default)]
    pub(crate) written: u64,
}

impl Cursor {
    /// A cursor at this position.
    pub(crate) fn at(position: Position) -> Self {
        Self { position: position.raw(), released: true, ..Self::default() }
    }

    pub(crate) fn position(&self) -> Position {
        Position::from_raw(self.position)
    }

    pub(crate) fn advance(&mut self, position: Position) {
        self.position = self.position.max(position.raw());
    }

    pub(crate) fn lost(&self) -> impl Iterator<Item = Position> + '_ {
        self.lost.iter().map(|raw| Position::from_raw(*raw))
    }

    pub(crate) fn add_lost(&mut self, position: Position) {
        if self.lost.len() == MOST_LOST {
            self.lost.remove(0);
        }
        self.lost.push(position.raw());
    }

    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        serde_json::from_slice(value).ok()
    }

    fn is_of(&self, owner: &str, epoch: u64) -> bool {
        self.owner == owner && self.epoch == epoch
    }

    /// Writes the cursor if nothing else was written since `revision`. None if another node has claimed the partition.
    ///
    /// A write of this node that was not answered and was stored after all does not count as another one.
    pub(crate) async fn write(
        &self,
        bucket: &Bucket,
        key: &str,
        mut revision: u64,
    ) -> Result<Option<u64>, Failure> {
        // A second conflict needs a second write of this node whose answer was lost.
        for _ in 0..3 {
            let value = serde_json::to_vec(self).unwrap_or_default();
            match bucket.write(key, value.into(), revision, None).await {
                Ok(revision) => return Ok(Some(revision)),
                Err(Failure::WrongSequence) => {}
                Err(failure) => return Err(failure),
            }
            let slot = bucket.read(key).await?;
            let now = slot.value.as_deref().and_then(Self::parse);
            if !now.is_some_and(|now| now.is_of(&self.owner, self.epoch)) {
                return Ok(None);
            }
            revision = slot.revision;
        }
        Err(Failure::Unanswered)
    }
}

/// A partition that was claimed.
#[derive(Clone, Debug)]
pub(crate) struct Claimed {
    pub(crate) cursor: Cursor,
    pub(crate) revision: u64,
    /// Whether the holder before ended without letting go.
    pub(crate) crashed: bool,
}

/// Reads a cursor; `from` is where it starts when it was never written.
pub(crate) async fn read(
    bucket: &Bucket,
    key: &str,
    from: Position,
) -> Result<(Cursor, u64), Failure> {
    let slot = bucket.read(key).await?;
    let cursor = slot.value.as_deref().and_then(Cursor::parse);
    Ok((cursor.unwrap_or_else(|| Cursor::at(from)), slot.revision))
}

/// Claims a partition for the holder of its lease: from now on no other node can write the cursor.
///
/// None if the partition was claimed by a later holder.
pub(crate) async fn claim(
    bucket: &Bucket,
    key: &str,
    from: Position,
    owner: &str,
    epoch: u64,
) -> Result<Option<Claimed>, Failure> {
    loop {
        let (mut cursor, revision) = read(bucket, key, from).await?;
        if cursor.epoch > epoch {
            return Ok(None);
        }
        let crashed = !cursor.released;
        // Not counted again, when this very claim was stored before and its answer was lost.
        let is_counted = cursor.is_of(owner, epoch);
        if let (true, false, Some(trying)) = (crashed, is_counted, cursor.trying.as_mut()) {
            trying.crashed();
        }
        (cursor.owner, cursor.epoch) = (owner.to_owned(), epoch);
        cursor.released = false;
        let value = serde_json::to_vec(&cursor).unwrap_or_default();
        match bucket.write(key, value.into(), revision, None).await {
            Ok(revision) => return Ok(Some(Claimed { cursor, revision, crashed })),
            // Another write came between, by a holder that has lost the lease or by this node itself.
            Err(Failure::WrongSequence) => {}
            Err(failure) => return Err(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_never_moves_back_and_keeps_the_last_losses() {
        let mut cursor = Cursor::at(Position::new(5, 3));
        cursor.advance(Position::new(4, 9));
        assert_eq!(cursor.position(), Position::new(5, 3));
        for sequence in 0..100 {
            cursor.add_lost(Position::new(sequence, 0));
        }
        let lost: Vec<_> = cursor.lost().collect();
        assert_eq!((lost.len(), lost[0]), (MOST_LOST, Position::new(36, 0)));
        let text = serde_json::to_vec(&cursor).unwrap();
        assert_eq!(Cursor::parse(&text), Some(cursor));
    }
}
