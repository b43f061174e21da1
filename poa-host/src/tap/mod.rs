//! A view of messages as receivers confirm them: limited, sampled, and without effect on delivery.

mod budget;
mod count;
mod filter;
mod line;
mod stream;
mod watcher;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, Weak};

use poa_core::{Attempt, Message, Observer};
use tokio::sync::mpsc;
use tokio::time::Instant;

pub(crate) use filter::TapFilter;
pub(crate) use stream::Stream;

use budget::Budget;
use count::Counting;
use watcher::{Kind, Watcher};

/// The most clients that watch at once.
const MAX_WATCHERS: usize = 8;
/// The number of lines that wait for a slow client; later ones are left out.
const WAITING: usize = 256;
/// The default number of lines a second.
const RATE: u32 = 100;

/// All clients that watch. Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taps(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// False while no client watches: then a batch costs one read of this flag.
    watched: AtomicBool,
    watchers: RwLock<Vec<Arc<Watcher>>>,
}

impl Taps {
    /// Shows messages, one JSON object a line. `None` if too many clients watch already.
    pub(crate) fn tap(&self, filter: TapFilter) -> Option<Stream> {
        let budget = Budget::new(filter.rate.unwrap_or(RATE), Instant::now());
        self.watch(Kind::Tap { filter, budget })
    }

    /// Shows each second how many messages each agent sent and each receiver got, one JSON object a line.
    pub(crate) fn top(&self) -> Option<Stream> {
        let stream = self.watch(Kind::Top(Box::new(Mutex::new(Counting::default()))))?;
        tokio::spawn(report(stream.watcher()));
        Some(stream)
    }

    /// A receiver has confirmed these messages.
    fn show(&self, receiver: &str, batch: &[Message]) {
        if !self.0.watched.load(Ordering::Relaxed) {
            return;
        }
        for watcher in self.watchers().iter() {
            watcher.show(receiver, batch);
        }
    }

    /// Disconnects all clients.
    pub(crate) fn close(&self) {
        self.change(Vec::clear);
    }

    fn watch(&self, kind: Kind) -> Option<Stream> {
        let (lines, come) = mpsc::channel(WAITING);
        let watcher = Arc::new(Watcher { lines, kind });
        let weak = Arc::downgrade(&watcher);
        let has_room = self.change(|watchers| {
            let has_room = watchers.len() < MAX_WATCHERS;
            watchers.extend(has_room.then_some(watcher));
            has_room
        });
        has_room.then(|| Stream::new(come, self.clone(), weak))
    }

    /// A client has disconnected.
    fn forget(&self, gone: &Weak<Watcher>) {
        self.change(|watchers| {
            watchers.retain(|watcher| !std::ptr::eq(Arc::as_ptr(watcher), gone.as_ptr()));
        });
    }

    fn watchers(&self) -> RwLockReadGuard<'_, Vec<Arc<Watcher>>> {
        self.0.watchers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Vec<Arc<Watcher>>) -> T) -> T {
        let mut watchers = self.0.watchers.write().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut watchers);
        self.0.watched.store(!watchers.is_empty(), Ordering::Relaxed);
        changed
    }
}

/// Makes the counts of a client report, every second, as long as it watches.
async fn report(watcher: Weak<Watcher>) {
    let mut every = tokio::time::interval(count::EVERY);
    loop {
        every.tick().await;
        let Some(watcher) = watcher.upgrade() else { return };
        if let Some(line) = watcher.counts() {
            // A client that reads slowly misses some.
            let _ = watcher.lines.try_send(line);
        }
    }
}

impl Observer for Taps {
    fn delivered(&self, attempt: &Attempt<'_>) {
        self.show(attempt.receiver, attempt.messages);
    }

    fn failed(&self, _: &Attempt<'_>, _: &str) {}

    fn set_aside(&self, _: &str, _: &Message, _: &str) {}
}

#[cfg(test)]
mod tests;
