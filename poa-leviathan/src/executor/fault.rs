//! An executor that fails when it is told to: for tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;

use super::{Executor, Session};
use crate::operation::Operation;
use crate::seen::Seen;
use crate::{ContainerId, Error};

/// A kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operation is not done, and fails.
    Before,
    /// The operation is done, and fails all the same.
    After,
    /// The operation never ends.
    Hang,
}

/// Lets the operations of another executor fail.
#[derive(Debug)]
pub struct Faults {
    inner: Arc<dyn Executor>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    applied: AtomicUsize,
    at: AtomicUsize,
    count: AtomicUsize,
    fault: parking_lot::Mutex<Option<Fault>>,
}

impl Faults {
    /// Around this executor; nothing fails yet.
    #[must_use]
    pub fn around(inner: Arc<dyn Executor>) -> Self {
        Self { inner, state: Arc::default() }
    }

    /// From now on, `count` operations fail from the `k`-th on, counted from 0. Those that only look do not count.
    pub fn arm(&self, k: usize, count: usize, fault: Fault) {
        self.state.applied.store(0, Ordering::SeqCst);
        self.state.at.store(k, Ordering::SeqCst);
        self.state.count.store(count, Ordering::SeqCst);
        *self.state.fault.lock() = Some(fault);
    }

    /// Nothing fails any more.
    pub fn disarm(&self) {
        *self.state.fault.lock() = None;
    }

    /// How many operations there were since it was armed.
    #[must_use]
    pub fn applied(&self) -> usize {
        self.state.applied.load(Ordering::SeqCst)
    }
}

impl State {
    fn next(&self) -> Option<Fault> {
        let k = self.applied.fetch_add(1, Ordering::SeqCst);
        let at = self.at.load(Ordering::SeqCst);
        let hit = k >= at && k - at < self.count.load(Ordering::SeqCst);
        self.fault.lock().filter(|_| hit)
    }
}

#[async_trait]
impl Executor for Faults {
    async fn look(&self, containers: &[ContainerId]) -> Result<Box<dyn Session>, Error> {
        let inner = self.inner.look(containers).await?;
        Ok(Box::new(Faulty { inner, state: self.state.clone() }))
    }

    async fn look_everywhere(&self, known: &[ContainerId]) -> Result<Box<dyn Session>, Error> {
        let inner = self.inner.look_everywhere(known).await?;
        Ok(Box::new(Faulty { inner, state: self.state.clone() }))
    }

    async fn changed(&self) {
        self.inner.changed().await;
    }
}

struct Faulty {
    inner: Box<dyn Session>,
    state: Arc<State>,
}

#[async_trait]
impl Session for Faulty {
    fn seen(&self) -> &Seen {
        self.inner.seen()
    }

    async fn apply(&mut self, operation: &Operation) -> Result<(), Error> {
        if operation.is_look() {
            return self.inner.apply(operation).await;
        }
        let failed = || Error::internal(format!("{operation}: failed on demand"));
        match self.state.next() {
            None => self.inner.apply(operation).await,
            Some(Fault::Before) => Err(failed()),
            Some(Fault::After) => {
                self.inner.apply(operation).await?;
                Err(failed())
            }
            Some(Fault::Hang) => std::future::pending().await,
        }
    }
}
