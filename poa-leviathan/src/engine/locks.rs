//! One operation at a time on each CEN.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

use crate::CenId;

/// Locks by CEN. A task that needs several takes them in ascending order of id, so that no two tasks wait for each other.
#[derive(Debug, Default)]
pub(super) struct Locks {
    known: Mutex<BTreeMap<CenId, Weak<tokio::sync::Mutex<()>>>>,
}

/// Holds CENs until it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    _guards: Vec<OwnedMutexGuard<()>>,
}

impl Locks {
    /// Waits for these CENs.
    ///
    /// Cancel safe: dropped, it holds none.
    pub(super) async fn hold<'c>(&self, cens: impl IntoIterator<Item = &'c CenId>) -> Held {
        let sorted: BTreeSet<&CenId> = cens.into_iter().collect();
        let mut guards = Vec::with_capacity(sorted.len());
        for cen in sorted {
            guards.push(self.of(cen).lock_owned().await);
        }
        Held { _guards: guards }
    }

    /// Takes these CENs if all of them are free.
    pub(super) fn try_hold<'c>(&self, cens: impl IntoIterator<Item = &'c CenId>) -> Option<Held> {
        let sorted: BTreeSet<&CenId> = cens.into_iter().collect();
        let guards = sorted.into_iter().map(|cen| self.of(cen).try_lock_owned().ok());
        Some(Held { _guards: guards.collect::<Option<_>>()? })
    }

    fn of(&self, cen: &CenId) -> Arc<tokio::sync::Mutex<()>> {
        let mut known = self.known.lock();
        if let Some(lock) = known.get(cen).and_then(Weak::upgrade) {
            return lock;
        }
        // Unused locks are removed here, so that the map has no more entries than twice those in use.
        if known.len() > 2 * known.values().filter(|lock| lock.strong_count() > 0).count() {
            known.retain(|_, lock| lock.strong_count() > 0);
        }
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        known.insert(cen.clone(), Arc::downgrade(&lock));
        lock
    }
}
