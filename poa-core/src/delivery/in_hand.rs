//! Remembers across a crash which messages were in hand, so that one that ends the process does not end it for ever.
//!
//! A file of 48 bytes for each receiver is written before every call and once after it. It is not synced: it has to
//! survive the process, not the machine.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use crate::{Message, MessageId};

/// How often the process may end with a message alone in hand before the message is blamed.
const CRASHES: u8 = 2;

const LENGTH: usize = 40;

/// What was in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Suspects {
    first: MessageId,
    last: MessageId,
    count: u32,
    /// How often the process ended while the first of them was alone in hand.
    alone: u8,
}

/// The memory of one receiver.
#[derive(Debug, Default)]
pub(crate) struct InHand {
    file: Option<File>,
    suspects: Option<Suspects>,
}

impl InHand {
    /// Opens the memory of the receiver of this name, which is not the same as a file name.
    pub(crate) fn open(directory: &Path, receiver: &str) -> io::Result<Self> {
        let name: String = receiver.bytes().map(|byte| format!("{byte:02x}")).collect();
        let path = directory.join(format!("in-hand-{name}"));
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true);
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path)?;
        let mut bytes = [0; LENGTH];
        let read = std::os::unix::fs::FileExt::read_at(&file, &mut bytes, 0)?;
        let found = if read == LENGTH { Suspects::read(&bytes) } else { None };
        let ended_with = |found: Suspects| Suspects {
            alone: if found.count == 1 { found.alone.saturating_add(1) } else { 0 },
            ..found
        };
        Ok(Self { file: Some(file), suspects: found.map(ended_with) })
    }

    /// Whether this message was in hand when the process ended.
    pub(super) fn suspects(&self, id: MessageId) -> bool {
        self.suspects.is_some_and(|suspects| suspects.contains(id))
    }

    /// Whether the process ended too often with this message alone in hand.
    pub(super) fn convicts(&self, id: MessageId) -> bool {
        self.suspects.is_some_and(|found| found.first == id && found.alone >= CRASHES)
    }

    /// These messages go to the receiver now.
    pub(super) fn begin(&self, messages: &[Message]) {
        let (Some(file), [first, .., last] | [first @ last]) = (&self.file, messages) else {
            return;
        };
        let known = self.suspects.filter(|found| found.first == first.id() && messages.len() == 1);
        let suspects = Suspects {
            first: first.id(),
            last: last.id(),
            count: u32::try_from(messages.len()).unwrap_or(u32::MAX),
            alone: known.map_or(0, |found| found.alone),
        };
        write(file, &suspects.bytes());
    }

    /// The receiver has returned: what comes now is not its messages' fault.
    pub(super) fn end(&self) {
        if let Some(file) = &self.file {
            write(file, &[0]);
        }
    }
}

/// A memory that cannot be written is a memory lost, nothing worse.
fn write(file: &File, bytes: &[u8]) {
    if let Err(error) = std::os::unix::fs::FileExt::write_all_at(file, bytes, 0) {
        tracing::debug!("cannot remember what is in hand: {error}");
    }
}

impl Suspects {
    fn contains(&self, id: MessageId) -> bool {
        self.first <= id && id <= self.last
    }

    fn bytes(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[0] = 1;
        bytes[1] = self.alone;
        bytes[4..8].copy_from_slice(&self.count.to_le_bytes());
        bytes[8..24].copy_from_slice(self.first.as_bytes());
        bytes[24..].copy_from_slice(self.last.as_bytes());
        bytes
    }

    fn read(bytes: &[u8; LENGTH]) -> Option<Self> {
        let (head, ids) = bytes.split_at(8);
        let id = |part: &[u8]| part.try_into().ok().map(MessageId::from_bytes);
        let count = u32::from_le_bytes(head[4..].try_into().ok()?);
        let found = Self { first: id(&ids[..16])?, last: id(&ids[16..])?, count, alone: head[1] };
        (head[0] == 1).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AgentId, DataTypes, Draft, Payload, Timestamp};

    fn message(n: u8) -> Message {
        let types = DataTypes::new(["a"]).unwrap();
        let data_type = types.get("a").unwrap().clone();
        let payload = Payload::json(&serde_json::json!({})).unwrap();
        let draft = Draft::new(AgentId::new("agent").unwrap(), data_type, payload);
        Message::stamp(draft, MessageId::from_bytes([n; 16]), Timestamp::from_micros(1))
    }

    /// The process ends without a word, and starts again.
    fn crash(memory: InHand, directory: &Path) -> InHand {
        drop(memory);
        InHand::open(directory, "r/1").unwrap()
    }

    #[test]
    fn only_what_was_in_hand_is_suspected() {
        let dir = tempfile::tempdir().unwrap();
        let memory = InHand::open(dir.path(), "r/1").unwrap();
        assert!(!memory.suspects(message(2).id()));
        memory.begin(&[message(2), message(3), message(4)]);
        let memory = crash(memory, dir.path());
        let suspected: Vec<_> = (1..6).filter(|n| memory.suspects(message(*n).id())).collect();
        assert_eq!(suspected, [2, 3, 4]);
        assert!(!memory.convicts(message(2).id()));
    }

    #[test]
    fn a_message_alone_in_hand_at_two_crashes_is_convicted() {
        let dir = tempfile::tempdir().unwrap();
        let memory = InHand::open(dir.path(), "r/1").unwrap();
        memory.begin(&[message(2), message(3)]);
        let memory = crash(memory, dir.path());
        memory.begin(&[message(2)]);
        memory.end();
        memory.begin(&[message(3)]);
        let memory = crash(memory, dir.path());
        assert!(memory.suspects(message(3).id()) && !memory.convicts(message(3).id()));
        memory.begin(&[message(3)]);
        let memory = crash(memory, dir.path());
        assert!(memory.convicts(message(3).id()) && !memory.convicts(message(2).id()));
    }

    #[test]
    fn a_crash_between_calls_is_nobodys_fault() {
        let dir = tempfile::tempdir().unwrap();
        let memory = InHand::open(dir.path(), "r/1").unwrap();
        memory.begin(&[message(2)]);
        memory.end();
        let memory = crash(memory, dir.path());
        assert!(!memory.suspects(message(2).id()));
    }
}
