//! Answers that wait until receivers have confirmed a message: front ends see the cursors move.

use std::collections::HashMap;

use parking_lot::Mutex;
use poa_core::DataType;
use poa_core::engine::ReceiptError;

use crate::cluster::Cluster;
use crate::cursor::Cursor;
use crate::pack::Position;
use crate::publish::Call;

/// Every so many calls, those that wait no more are removed.
const LOOK: usize = 1024;

/// Calls that wait for confirmations, by partition.
#[derive(Debug, Default)]
pub(crate) struct Deliveries(Mutex<HashMap<u16, Vec<Waiter>>>);

#[derive(Debug)]
struct Waiter {
    position: Position,
    /// The receivers that have not confirmed.
    receivers: Vec<String>,
    call: Call,
}

impl Deliveries {
    /// Settles the call when all receivers that count have confirmed the message.
    pub(crate) fn wait(
        &self,
        cluster: &Cluster,
        partition: u16,
        position: Position,
        data_type: &DataType,
        call: Call,
    ) {
        let receivers = cluster.receivers_that_count(data_type);
        let mut waiters = self.0.lock();
        let of_partition = waiters.entry(partition).or_default();
        if of_partition.len() % LOOK == LOOK - 1 {
            // Their callers have waited long enough.
            of_partition.retain(|waiter| !waiter.call.is_abandoned());
        }
        of_partition.push(Waiter { position, receivers: receivers.clone(), call });
        drop(waiters);
        // Some may have confirmed it before the answer of the server was read here.
        for receiver in &receivers {
            if let Some(cursor) = cluster.cursor_of(receiver, partition) {
                self.moved(receiver, partition, &cursor);
            }
        }
        self.settle_without_receivers(partition);
    }

    /// A cursor was written.
    pub(crate) fn moved(&self, receiver: &str, partition: u16, cursor: &Cursor) {
        let mut waiters = self.0.lock();
        let Some(of_partition) = waiters.get_mut(&partition) else { return };
        of_partition.retain_mut(|waiter| {
            if waiter.position > cursor.position()
                || !waiter.receivers.iter().any(|r| r == receiver)
            {
                return true;
            }
            if cursor.lost().any(|lost| lost == waiter.position) {
                waiter.call.settle(Err(ReceiptError::NotDelivered));
                return false;
            }
            waiter.receivers.retain(|other| other != receiver);
            waiter.settle_if_done()
        });
    }

    /// A receiver was forgotten.
    pub(crate) fn forgotten(&self, receiver: &str) {
        for of_partition in self.0.lock().values_mut() {
            of_partition.retain_mut(|waiter| {
                waiter.receivers.retain(|other| other != receiver);
                waiter.settle_if_done()
            });
        }
    }

    fn settle_without_receivers(&self, partition: u16) {
        if let Some(of_partition) = self.0.lock().get_mut(&partition) {
            of_partition.retain(Waiter::settle_if_done);
        }
    }

    /// This receiver will confirm nothing more here: calls that wait for it are told that the host has stopped.
    pub(crate) fn abandon(&self, receiver: &str) {
        for of_partition in self.0.lock().values_mut() {
            of_partition.retain(|waiter| !waiter.receivers.iter().any(|other| other == receiver));
        }
    }
}

impl Waiter {
    /// Whether it has to wait for longer.
    fn settle_if_done(&self) -> bool {
        if self.receivers.is_empty() {
            self.call.settle(Ok(()));
        }
        !self.receivers.is_empty()
    }
}
