//! The connection, shared by the calls that store and the maintenance task.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use poa_tables::Measures;

use crate::database::Location;
use crate::error::StoreError;
use crate::writer::Writer;

/// A database that is opened when it is needed.
#[derive(Debug)]
pub(crate) struct Shared {
    location: Location,
    measures: Measures,
    /// Locked by the call that writes. Empty after a failure that may have been the connection's: the next call opens it again.
    writer: Mutex<Option<Writer>>,
    /// Whether to check after each transaction that the file is still at its path.
    watching: AtomicBool,
}

impl Shared {
    /// Opens the database. Blocks.
    pub(crate) fn open(location: Location, measures: Measures) -> Result<Self, StoreError> {
        let writer = Writer::open(&location, measures.clone(), true)?;
        let writer = Mutex::new(Some(writer));
        Ok(Self { location, measures, writer, watching: AtomicBool::new(true) })
    }

    /// Runs a job on the connection. If the file turns out to be gone, the job runs again on a new one, so that confirmed messages are
    /// in the file that the next start opens. Blocks.
    pub(crate) fn run(
        &self,
        job: impl Fn(&mut Writer) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut place = self.place();
        let path = self.location.path.display();
        match self.attempt(&mut place, &job) {
            Err(gone @ StoreError::Gone(_)) => tracing::warn!("{gone}"),
            result => return result,
        }
        match self.attempt(&mut place, &job) {
            Err(StoreError::Gone(_)) => {}
            result => return result,
        }
        // Twice in a row it was gone right after it was created: probably no program removed it that fast, but the file system returns
        // a different number each time.
        self.watching.store(false, Ordering::Relaxed);
        tracing::warn!(
            "the file system of {path} does not number its files; if the database is removed while it is in use, that is not detected"
        );
        self.attempt(&mut place, &job)
    }

    fn attempt(
        &self,
        place: &mut Option<Writer>,
        job: &impl Fn(&mut Writer) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        // A job that panics leaves the slot empty, which is a valid state.
        let mut writer = match place.take() {
            Some(writer) => writer,
            None => {
                let watching = self.watching.load(Ordering::Relaxed);
                Writer::open(&self.location, self.measures.clone(), watching)?
            }
        };
        let result = job(&mut writer);
        match &result {
            Err(StoreError::Gone(_)) => writer.leave(),
            Err(error) if !error.keeps_connection() => {}
            _ => *place = Some(writer),
        }
        result
    }

    /// Runs a job on the connection, if there is a working one. Blocks.
    pub(crate) fn run_if_open<T>(
        &self,
        job: impl FnOnce(&mut Writer) -> Result<T, StoreError>,
    ) -> Option<Result<T, StoreError>> {
        self.place().as_mut().map(job)
    }

    /// Writes everything into the database file and closes it. Blocks.
    pub(crate) fn close(&self) -> Result<(), StoreError> {
        self.place().take().map_or(Ok(()), Writer::close)
    }

    fn place(&self) -> MutexGuard<'_, Option<Writer>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
