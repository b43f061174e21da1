//! Remembers across a crash which messages were in flight, so that a message that ends the process does not end it again and again.
//!
//! A file of 40 bytes for each receiver is written before every call and once after it, also when the call is cut off by an orderly
//! stop. It is not synced: it has to survive the process, not the machine.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;

use crate::{Message, MessageId, files};

/// The number of times that the process may end with a message in flight before the message is blamed.
const CRASHES: u8 = 2;

/// A message that was in flight with others when the process ended is then delivered alone. If the process ends again this soon
/// after its start, while no other receiver has a suspect in flight, two crashes are enough to blame the message. Later it takes a
/// third crash: a process that is killed repeatedly always has some message in flight.
const SOON: Duration = Duration::from_millis(25);

/// How long a receiver waits for its turn, once.
const PATIENCE: Duration = Duration::from_secs(1);

const LENGTH: usize = 40;

/// Lets one receiver of a host at a time have a suspect in flight, so that the right message is blamed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turns(Arc<Mutex<()>>);

/// The messages in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Suspects {
    first: MessageId,
    last: MessageId,
    count: u32,
    /// The number of times that the process ended before with the first of them in flight, as far as they count.
    crashes: u8,
}

/// The record of one receiver.
#[derive(Debug, Default)]
pub(crate) struct InHand {
    file: Option<Arc<File>>,
    suspects: Option<Suspects>,
    turns: Turns,
    /// The turn of another receiver took too long.
    impatient: bool,
    /// The time of the receiver's first call.
    began: OnceLock<Instant>,
}

/// A call in progress. It is dropped when the receiver has returned or the call was cut off in an orderly way: a later crash is not
/// the fault of its messages.
#[derive(Debug)]
pub(super) struct Call {
    file: Option<Arc<File>>,
    _turn: Option<OwnedMutexGuard<()>>,
}

impl InHand {
    /// Opens the record of the receiver of this name; the file name is derived from it.
    pub(crate) fn open(directory: &Path, receiver: &str, turns: Turns) -> io::Result<Self> {
        let name: String = receiver.bytes().map(|byte| format!("{byte:02x}")).collect();
        let path = directory.join(format!("in-hand-{name}"));
        let file =
            files::private().create(true).truncate(false).read(true).write(true).open(path)?;
        let mut bytes = [0; LENGTH];
        let read = std::os::unix::fs::FileExt::read_at(&file, &mut bytes, 0)?;
        let suspects = if read == LENGTH { Suspects::read(&bytes) } else { None };
        Ok(Self { file: Some(Arc::new(file)), suspects, turns, ..Self::default() })
    }

    /// Whether this message was in flight when the process ended.
    pub(super) fn suspects(&self, id: MessageId) -> bool {
        self.suspects.is_some_and(|suspects| suspects.contains(id))
    }

    /// Whether the process ended too often with this message in flight, the last time alone.
    pub(super) fn convicts(&self, id: MessageId) -> bool {
        self.suspects.is_some_and(|found| found.first == id && found.ended_alone() >= CRASHES)
    }

    /// Records that these messages are about to be delivered, once it is the receiver's turn.
    pub(super) async fn begin(&mut self, messages: &[Message]) -> Call {
        let began = *self.began.get_or_init(Instant::now);
        let ([first, .., last] | [first @ last]) = messages else {
            return Call { file: None, _turn: None };
        };
        let suspect = messages.len() == 1 && self.suspects(first.id());
        let turn = if suspect { self.turn().await } else { None };
        let suspects = Suspects {
            first: first.id(),
            last: last.id(),
            count: u32::try_from(messages.len()).unwrap_or(u32::MAX),
            crashes: if suspect { self.crashes_with(first.id(), began) } else { 0 },
        };
        if let Some(file) = &self.file {
            write(file, &suspects.bytes());
        }
        Call { file: self.file.clone(), _turn: turn }
    }

    /// The number of times that the process has ended with this message in flight, as far as they count.
    fn crashes_with(&self, id: MessageId, began: Instant) -> u8 {
        match self.suspects {
            Some(found) if found.count == 1 && found.first == id => found.ended_alone(),
            Some(_) if began.elapsed() <= SOON => 1,
            _ => 0,
        }
    }

    async fn turn(&mut self) -> Option<OwnedMutexGuard<()>> {
        if self.impatient {
            return None;
        }
        let turn = tokio::time::timeout(PATIENCE, self.turns.0.clone().lock_owned()).await.ok();
        self.impatient = turn.is_none();
        turn
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            write(file, &[0]);
        }
    }
}

/// If the file cannot be written, only the record of suspects is lost.
fn write(file: &File, bytes: &[u8]) {
    if let Err(error) = std::os::unix::fs::FileExt::write_all_at(file, bytes, 0) {
        tracing::debug!("cannot record the messages in flight: {error}");
    }
}

impl Suspects {
    fn contains(&self, id: MessageId) -> bool {
        self.first <= id && id <= self.last
    }

    /// The number of times that the process ended with the first message in flight, if it was alone the last time.
    fn ended_alone(&self) -> u8 {
        if self.count == 1 { self.crashes.saturating_add(1) } else { 0 }
    }

    fn bytes(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[0] = 1;
        bytes[1] = self.crashes;
        bytes[4..8].copy_from_slice(&self.count.to_le_bytes());
        bytes[8..24].copy_from_slice(self.first.as_bytes());
        bytes[24..].copy_from_slice(self.last.as_bytes());
        bytes
    }

    fn read(bytes: &[u8; LENGTH]) -> Option<Self> {
        let (head, ids) = bytes.split_at(8);
        let id = |part: &[u8]| part.try_into().ok().map(MessageId::from_bytes);
        let count = u32::from_le_bytes(head[4..].try_into().ok()?);
        let found = Self { first: id(&ids[..16])?, last: id(&ids[16..])?, count, crashes: head[1] };
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

    fn open(directory: &Path) -> InHand {
        InHand::open(directory, "r/1", Turns::default()).unwrap()
    }

    /// The process ends abruptly during a call with these messages, and starts again.
    async fn crash(mut memory: InHand, messages: &[u8], directory: &Path) -> InHand {
        let messages: Vec<_> = messages.iter().copied().map(message).collect();
        std::mem::forget(memory.begin(&messages).await);
        open(directory)
    }

    #[tokio::test]
    async fn only_messages_in_flight_are_suspected() {
        let dir = tempfile::tempdir().unwrap();
        let memory = open(dir.path());
        assert!(!memory.suspects(message(2).id()));
        let memory = crash(memory, &[2, 3, 4], dir.path()).await;
        let suspected: Vec<_> = (1..6).filter(|n| memory.suspects(message(*n).id())).collect();
        assert_eq!(suspected, [2, 3, 4]);
        assert!(!memory.convicts(message(2).id()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_second_crash_with_a_message_in_flight_blames_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut memory = crash(open(dir.path()), &[2, 3], dir.path()).await;
        drop(memory.begin(&[message(2)]).await);
        tokio::time::advance(SOON).await;
        let memory = crash(memory, &[3], dir.path()).await;
        assert!(memory.convicts(message(3).id()) && !memory.convicts(message(2).id()));
    }

    #[tokio::test(start_paused = true)]
    async fn repeated_kills_do_not_blame_a_message_too_soon() {
        let dir = tempfile::tempdir().unwrap();
        let mut memory = crash(open(dir.path()), &[2, 3], dir.path()).await;
        drop(memory.begin(&[message(2)]).await);
        tokio::time::advance(SOON + Duration::from_millis(1)).await;
        let memory = crash(memory, &[3], dir.path()).await;
        assert!(memory.suspects(message(3).id()) && !memory.convicts(message(3).id()));
        let memory = crash(memory, &[3], dir.path()).await;
        assert!(memory.convicts(message(3).id()) && !memory.convicts(message(2).id()));
    }

    #[tokio::test]
    async fn an_orderly_stop_blames_no_message() {
        let dir = tempfile::tempdir().unwrap();
        let mut memory = open(dir.path());
        // The call is cut off at an await, as when its task is aborted.
        let call = async {
            let _call = memory.begin(&[message(2)]).await;
            std::future::pending::<()>().await;
        };
        assert!(tokio::time::timeout(Duration::from_millis(1), call).await.is_err());
        assert!(!open(dir.path()).suspects(message(2).id()));
    }

    #[tokio::test(start_paused = true)]
    async fn only_one_receiver_at_a_time_has_a_suspect_in_flight() {
        let dir = tempfile::tempdir().unwrap();
        drop(crash(open(dir.path()), &[2, 3], dir.path()).await);
        let turns = Turns::default();
        let [mut one, mut other] =
            [(); 2].map(|()| InHand::open(dir.path(), "r/1", turns.clone()).unwrap());
        let held = one.begin(&[message(2)]).await;
        let begin = Instant::now();
        drop(other.begin(&[message(4)]).await);
        assert_eq!(begin.elapsed(), Duration::ZERO, "a receiver without a suspect waited");
        // A receiver that hangs does not delay the other for long, nor twice.
        for _ in 0..2 {
            drop(other.begin(&[message(2)]).await);
            assert_eq!(begin.elapsed(), PATIENCE);
        }
        drop(held);
    }
}
