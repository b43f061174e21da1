//! The layout of records in the payload of one JetStream message: each with its length in front, 4 bytes, little-endian.

use bytes::{Buf as _, Bytes};

/// The most records in a payload: the number of each must fit into a position.
pub(crate) const MOST: usize = 1 << INDEX_BITS;
const INDEX_BITS: u32 = 12;
/// The bytes that a record takes besides its own.
pub(crate) const OVERHEAD: usize = size_of::<u32>();

/// Appends a record.
pub(crate) fn push(record: &[u8], out: &mut Vec<u8>) {
    // A record is a message, and no server takes 4 GiB.
    out.extend_from_slice(&(record.len() as u32).to_le_bytes());
    out.extend_from_slice(record);
}

/// The records of a payload. The last is none if the payload is cut off.
pub(crate) fn records(mut payload: Bytes) -> impl Iterator<Item = Option<Bytes>> {
    std::iter::from_fn(move || {
        if payload.is_empty() {
            return None;
        }
        let length = payload.len().checked_sub(OVERHEAD).map(|_| payload.get_u32_le() as usize);
        match length.filter(|length| *length <= payload.len()) {
            Some(length) => Some(Some(payload.split_to(length))),
            None => {
                payload.clear();
                Some(None)
            }
        }
    })
}

/// The position of a record in the stream: the sequence of its message and its number there. Positions sort as records do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Position(u64);

impl Position {
    pub(crate) fn new(sequence: u64, index: usize) -> Self {
        Self(sequence << INDEX_BITS | index as u64)
    }

    /// Behind every record of this message of the stream.
    pub(crate) fn end_of(sequence: u64) -> Self {
        Self::new(sequence, MOST - 1)
    }

    pub(crate) fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    pub(crate) fn raw(self) -> u64 {
        self.0
    }

    pub(crate) fn sequence(self) -> u64 {
        self.0 >> INDEX_BITS
    }

    /// The last position before this one.
    pub(crate) fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// The sequence to read from, when everything up to here is done with.
    pub(crate) fn resume_at(self) -> u64 {
        let whole = self.0 & (MOST as u64 - 1) == MOST as u64 - 1;
        // A message may be done with in part only, so it is read again.
        self.sequence() + u64::from(whole || self.0 == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back() {
        let mut payload = Vec::new();
        push(b"one", &mut payload);
        push(b"", &mut payload);
        push(b"three", &mut payload);
        let whole = Bytes::from(payload);
        let found: Vec<_> = records(whole.clone()).map(Option::unwrap).collect();
        assert_eq!(found, [&b"one"[..], b"", b"three"]);
        for end in 1..whole.len() {
            let found: Vec<_> = records(whole.slice(..end)).collect();
            assert_eq!(found.last() == Some(&None), ![7, 11].contains(&end), "{end}");
        }
    }

    #[test]
    fn positions_sort_and_resume() {
        let first = Position::new(7, 0);
        assert_eq!(first.before(), Position::end_of(6));
        assert!(first < Position::new(7, 1) && Position::new(7, MOST - 1) < Position::new(8, 0));
        assert_eq!(Position::end_of(6).resume_at(), 7);
        assert_eq!(first.resume_at(), 7);
        assert_eq!(Position::from_raw(0).resume_at(), 1);
        assert_eq!(Position::new(7, 5).sequence(), 7);
    }
}
