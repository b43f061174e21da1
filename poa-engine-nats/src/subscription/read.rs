//! Reads the partitions that were acquired together.

use std::sync::Arc;

use bytes::Bytes;
use poa_core::engine::{Decoded, Event, decode};
use tokio_util::sync::CancellationToken;

use super::Receiver;
use crate::held::Held;
use crate::pack::{Position, records};
use crate::publish::WAITS;
use crate::reader::{Arrival, Reader, Reading, StreamMessage};

/// The bytes of events that may wait in memory to be handed out.
const WINDOW: usize = 16 << 20;
/// The most data types that are asked for one by one; with more, a reader gets everything and picks.
const FEW_TYPES: usize = 8;

/// The bytes that are taken in at once.
const AT_ONCE: usize = 1 << 20;

/// Something that was read.
enum Step {
    /// How many messages of the stream come after one, and its size.
    Pending(u64, usize),
    Record(Place, Option<(Event, bool)>),
    CaughtUp(u64),
}

struct Place {
    partition: u16,
    epoch: u64,
    position: Position,
}

/// The arrival, and those that are there already, as far as they are taken in at once.
fn with_ready(first: Arrival, reader: &mut Reader) -> Vec<Arrival> {
    let bytes_of = |arrival: &Arrival| match arrival {
        Arrival::Message(found) => found.message.length,
        _ => 0,
    };
    let mut bytes = bytes_of(&first);
    let mut arrivals = vec![first];
    while bytes < AT_ONCE
        && let Some(next) = reader.ready()
    {
        bytes += bytes_of(&next);
        arrivals.push(next);
    }
    arrivals
}

/// Partitions that one reader reads, each with the epoch of its lease.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) number: u64,
    pub(super) partitions: Vec<(u16, u64)>,
    pub(super) start: u64,
}

impl Group {
    fn epoch(&self, partition: u16) -> Option<u64> {
        self.partitions.iter().find(|(number, _)| *number == partition).map(|(_, epoch)| *epoch)
    }

    fn is_held(&self, held: &Held) -> bool {
        self.partitions.iter().any(|(number, epoch)| held.holds(*number, *epoch))
    }
}

impl Receiver {
    /// Reads until none of the partitions is held any more.
    pub(super) async fn read(self: Arc<Self>, group: Group, end: CancellationToken) {
        let filters = self.filters(&group);
        let stream = self.cluster.names.stream();
        let reading = Reading { stream, filters, start: group.start };
        let mut reader = Reader::new(self.cluster.contact.clone(), reading);
        while group.is_held(&self.held.lock()) {
            tokio::select! {
                () = end.cancelled() => break,
                arrival = self.read_one(&mut reader) => self.take(&group, with_ready(arrival, &mut reader)),
            }
        }
        reader.close().await;
    }

    async fn read_one(&self, reader: &mut Reader) -> Arrival {
        loop {
            let taken = self.signals.taken.notified();
            if self.held.lock().window_bytes() < WINDOW {
                return reader.next().await;
            }
            taken.await;
        }
    }

    fn filters(&self, group: &Group) -> Vec<String> {
        let names = &self.cluster.names;
        let of_partition = |partition: u16| {
            if self.types.len() > FEW_TYPES {
                return vec![names.partition_subjects(partition)];
            }
            let mut filters: Vec<_> =
                self.types.iter().map(|data_type| names.messages(partition, data_type)).collect();
            filters.push(names.activity(partition));
            filters
        };
        group.partitions.iter().flat_map(|(partition, _)| of_partition(*partition)).collect()
    }

    /// Takes in what has arrived together: those who wait for it are woken once.
    fn take(&self, group: &Group, arrivals: Vec<Arrival>) {
        // Decoded before the lock is taken, so that no one who needs it waits for that.
        let steps: Vec<_> =
            arrivals.into_iter().flat_map(|arrival| self.steps(group, arrival)).collect();
        let mut held = self.held.lock();
        for step in steps {
            match step {
                Step::Pending(pending, bytes) => held.set_pending(group.number, pending, bytes),
                Step::Record(place, event) => {
                    held.push(place.partition, place.epoch, place.position, event);
                }
                Step::CaughtUp(sequence) => held.caught_up(group.number, sequence),
            }
        }
        drop(held);
        self.signals.arrived.notify_waiters();
    }

    fn steps(&self, group: &Group, arrival: Arrival) -> Vec<Step> {
        match arrival {
            Arrival::Message(message) => self.records(group, &message),
            Arrival::CaughtUp(sequence) => {
                *self.broken.lock() = None;
                vec![Step::CaughtUp(sequence)]
            }
            Arrival::Interrupted(failure) => {
                tracing::debug!(receiver = self.name(), "reading was interrupted: {failure}");
                *self.broken.lock() = Some(failure.to_string());
                Vec::new()
            }
        }
    }

    fn records(&self, group: &Group, found: &StreamMessage) -> Vec<Step> {
        let partition = self.cluster.names.partition_of_subject(&found.message.subject);
        let Some((partition, epoch)) = partition.and_then(|p| Some((p, group.epoch(p)?))) else {
            return Vec::new();
        };
        let headers = found.message.headers.as_ref();
        let urgent = headers.is_some_and(|headers| headers.get(WAITS).is_some());
        let record = |(index, record): (usize, Option<Bytes>)| {
            let event = record.and_then(|record| self.event(&record)).map(|event| (event, urgent));
            let position = Position::new(found.sequence, index);
            Step::Record(Place { partition, epoch, position }, event)
        };
        let pending = Step::Pending(found.pending, found.message.length);
        std::iter::once(pending).chain(records(found.payload()).enumerate().map(record)).collect()
    }

    /// The event of a record, if it is one for this receiver.
    fn event(&self, record: &[u8]) -> Option<Event> {
        match decode(record, &self.cluster.types) {
            Decoded::Event(event) => event.is_for(self.request.types).then_some(event),
            Decoded::UnknownType(name) => {
                if self.types.contains(&*name) {
                    self.request.counts.undeclared.inc();
                }
                None
            }
            _ => {
                self.request.counts.damaged.inc_by(record.len() as u64);
                None
            }
        }
    }
}
