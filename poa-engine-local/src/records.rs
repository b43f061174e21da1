//! Records of the log that a sender encodes before it takes the lock that all senders share.

use std::cell::Cell;

use poa_core::engine::{Unstamped, encode_draft};
use poa_core::{Draft, MessageId, Timestamp};

/// The most bytes that a sender copies under the lock; the thread that writes the log encodes what is larger.
const MOST: usize = 64 << 10;

thread_local! {
    /// The memory of the last records of this thread.
    static SPARE: Cell<Buffers> = const { Cell::new(Buffers { bytes: Vec::new(), ends: Vec::new() }) };
}

#[derive(Debug, Default)]
struct Buffers {
    bytes: Vec<u8>,
    /// The end of each record.
    ends: Vec<(usize, Unstamped)>,
}

/// The records of drafts, in their order; none if they are large.
#[derive(Debug, Default)]
pub(crate) struct Records {
    buffers: Buffers,
    /// The number of those that were taken, and where they end.
    taken: (usize, usize),
}

/// A record that lacks its id and its time.
#[derive(Debug)]
pub(crate) struct Unfinished<'a> {
    bytes: &'a mut [u8],
    unstamped: Unstamped,
}

impl Records {
    pub(crate) fn of(drafts: &[Draft]) -> Self {
        // The footprint is larger than the record.
        if drafts.iter().map(Draft::footprint).sum::<usize>() > MOST {
            return Self::default();
        }
        let mut buffers = SPARE.take();
        for draft in drafts {
            let unstamped = encode_draft(draft, &mut buffers.bytes);
            buffers.ends.push((buffers.bytes.len(), unstamped));
        }
        Self { buffers, taken: (0, 0) }
    }

    /// The record of the next draft.
    pub(crate) fn next(&mut self) -> Option<Unfinished<'_>> {
        let (nth, start) = self.taken;
        let (end, unstamped) = *self.buffers.ends.get(nth)?;
        self.taken = (nth + 1, end);
        Some(Unfinished { bytes: &mut self.buffers.bytes[start..end], unstamped })
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        let mut buffers = std::mem::take(&mut self.buffers);
        if buffers.bytes.capacity() > 0 {
            buffers.bytes.clear();
            buffers.ends.clear();
            // A thread that is ending has no use for it.
            let _ = SPARE.try_with(|spare| spare.set(buffers));
        }
    }
}

impl<'a> Unfinished<'a> {
    pub(crate) fn finish(self, id: MessageId, received_at: Timestamp) -> &'a [u8] {
        self.unstamped.stamp(self.bytes, id, received_at);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use poa_core::engine::{Event, IdGenerator, encode};
    use poa_core::{Activity, AgentId, DataTypes, Message, Payload};

    use super::*;
    use crate::pending::Pending;

    fn draft(payload: usize) -> Draft {
        let types = DataTypes::new(["a"]).unwrap();
        let payload = Payload::json(&serde_json::json!({ "text": "x".repeat(payload) })).unwrap();
        Draft::new(AgentId::new("agent").unwrap(), types.get("a").unwrap().clone(), payload)
    }

    /// Encoded by the sender or by the thread of the log, with changes of activity between them.
    #[test]
    fn the_log_gets_the_same_records_in_the_same_order() {
        let (mut ids, mut pending) = (IdGenerator::new(), Pending::default());
        let mut expected = Vec::new();
        let now = Timestamp::now();
        let mut add = |drafts: Vec<Draft>, encoded: bool| {
            let mut records = Records::of(&drafts);
            for draft in drafts {
                let id = ids.next(now);
                let record = records.next().map(|record| record.finish(id, now));
                assert_eq!(record.is_some(), encoded);
                let message = Event::Message(Message::stamp(draft, id, now));
                let mut bytes = Vec::new();
                encode(&message, &mut bytes);
                expected.push(bytes);
                pending.push(message, record);
            }
        };
        add(vec![draft(1), draft(200)], true);
        add(vec![draft(MOST)], false);
        add(vec![draft(3)], true);
        let change = Event::Activity(Activity::new(AgentId::new("agent").unwrap(), true, now));
        let mut bytes = Vec::new();
        encode(&change, &mut bytes);
        expected.push(bytes);
        pending.push(change, None);
        let mut group = poa_log::Group::new();
        let offsets: Vec<_> =
            expected.iter().map(|record| group.push(|bytes| bytes.extend(record))).collect();
        assert_eq!(pending.encoded().bytes(), group.bytes());
        let found: Vec<_> = pending.entries.iter().map(|(offset, _)| *offset).collect();
        assert_eq!(found, offsets);
    }
}
