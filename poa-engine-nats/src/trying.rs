//! Messages that may be the reason why nodes end.
//!
//! After a node ended without letting go of a partition, any message that it had in flight may be the reason. The next holder writes into
//! the cursor which batch it tries, before it hands it out. When a node ends over that batch, too, its messages are tried alone, and one over
//! which a node ends then is set aside: three crashes for one message, whichever nodes they are. A lease that expires unreleased counts as a
//! crash, because no other node can tell the difference.

use serde::{Deserialize, Serialize};

/// How often a node may end while a message was tried, with its batch and alone.
const MOST_CRASHES: u32 = 2;

/// Messages of a partition that are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trying {
    /// The position of the last of them.
    position: u64,
    /// That of the last message of the batch that is tried one by one; absent while the whole batch is.
    #[serde(default)]
    alone_until: Option<u64>,
    /// How often a node ended meanwhile.
    crashes: u32,
}

impl Trying {
    /// A batch that ends at this position.
    pub(crate) fn batch(position: u64) -> Self {
        Self { position, alone_until: None, crashes: 0 }
    }

    /// A node ended.
    pub(crate) fn crashed(&mut self) {
        self.crashes += 1;
    }

    /// Whether a message at this position may be handed out.
    pub(crate) fn permits(&self, position: u64) -> bool {
        match self.alone_until {
            Some(_) => position == self.position && self.crashes < MOST_CRASHES,
            None => position <= self.position && self.crashes == 0,
        }
    }

    pub(crate) fn is_alone(&self) -> bool {
        self.alone_until.is_some()
    }

    /// Whether nodes ended over the message at this position often enough.
    pub(crate) fn is_poison(&self, position: u64) -> bool {
        self.is_alone() && position == self.position && self.crashes >= MOST_CRASHES
    }

    /// After this, for a batch that starts at one position and ends at another.
    pub(crate) fn next(&self, first: u64, last: u64) -> Self {
        let until = match self.alone_until {
            Some(until) => until,
            None if self.crashes > 0 => self.position,
            None => 0,
        };
        if first <= until {
            Self { position: first, alone_until: Some(until), crashes: 1 }
        } else {
            Self::batch(last)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_tried_then_its_messages_alone_then_one_is_set_aside() {
        let mut trying = Trying::batch(9);
        assert!(trying.permits(3) && trying.permits(9) && !trying.permits(10));
        assert_eq!(trying.next(10, 12), Trying::batch(12));
        trying.crashed();
        assert!(!trying.permits(3));
        // Two alone, then the node ends over the second.
        let first = trying.next(3, 9);
        assert!(first.is_alone() && first.permits(3) && !first.permits(4));
        let mut second = first.next(4, 9);
        assert!(second.permits(4));
        second.crashed();
        assert!(!second.permits(4) && second.is_poison(4) && !second.is_poison(5));
        // The rest of the batch is tried alone, what follows does not.
        let third = second.next(5, 11);
        assert!(third.is_alone() && third.permits(5));
        assert_eq!(third.next(10, 11), Trying::batch(11));
    }
}
