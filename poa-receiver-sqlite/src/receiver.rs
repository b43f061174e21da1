//! The receiver: hands every call to a blocking thread that owns the connection meanwhile.

use std::sync::{Arc, Mutex, PoisonError};

use poa_core::{
    Activity, BuildContext, BuildError, DeliveryError, Message, Plugin, Receiver, async_trait,
};

use crate::Config;
use crate::database::Location;
use crate::error::StoreError;
use crate::writer::{Counters, Wanted, Writer};

/// Stores messages in an SQLite database.
///
/// All methods are cancel safe: a call that is dropped has stored everything or nothing, and a call that follows waits for
/// it. What was confirmed is on the disk.
#[derive(Debug)]
pub struct Sqlite(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    location: Location,
    counters: Counters,
    /// Taken by the call that writes. Empty after a failure that may have been the connection's: the next call opens it anew.
    writer: Mutex<Option<Writer>>,
}

impl Shared {
    /// Runs a job on the connection. Blocks.
    fn run(
        &self,
        job: impl FnOnce(&mut Writer) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        // A job that panics leaves the place empty, which is a valid state.
        let mut place = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut writer = match place.take() {
            Some(writer) => writer,
            None => Writer::open(&self.location, self.counters.clone())?,
        };
        let result = job(&mut writer);
        if result.as_ref().err().is_none_or(StoreError::keeps_connection) {
            *place = Some(writer);
        }
        result
    }

    fn close(&self) -> Result<(), StoreError> {
        let mut place = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        place.take().map_or(Ok(()), Writer::close)
    }
}

impl Sqlite {
    /// Runs a job on a blocking thread. When this future is dropped before the job has begun to write, it never will.
    async fn write(
        &self,
        job: impl FnOnce(&mut Writer, &Wanted) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(), DeliveryError> {
        let waiting = Arc::new(());
        let wanted = Arc::downgrade(&waiting);
        let shared = self.0.clone();
        let result = blocking(move || shared.run(|writer| job(writer, &wanted))).await;
        drop(waiting);
        Ok(result?)
    }
}

/// Runs a job on a blocking thread; its panic goes on here.
async fn blocking<T: Send + 'static>(
    job: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(job).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(StoreError::RuntimeGone),
        },
    }
}

#[async_trait]
impl Plugin for Sqlite {
    type Config = Config;

    fn validate(config: &Config) -> Vec<poa_core::config::Problem> {
        config.problems()
    }

    /// Opens the database, creates and migrates it if need be.
    ///
    /// # Errors
    /// [`BuildError::Unavailable`] when the database is locked or the disk full, [`BuildError::Failed`] when the file cannot
    /// be opened, is no SQLite database, belongs to another application, or was made by a newer version.
    async fn build(config: Config, cx: &BuildContext) -> Result<Self, BuildError> {
        let location = Location {
            path: cx.data_dir().join(config.path),
            busy_timeout: config.busy_timeout.get(),
        };
        let counters = Counters::new(cx);
        let shared = blocking(move || {
            let writer = Writer::open(&location, counters.clone())?;
            Ok(Shared { location, counters, writer: Mutex::new(Some(writer)) })
        });
        Ok(Self(Arc::new(shared.await?)))
    }
}

#[async_trait]
impl Receiver for Sqlite {
    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        let batch = batch.to_vec();
        self.write(move |writer, wanted| writer.store(&batch, wanted)).await
    }

    async fn handle_inactive(&mut self, agents: &[Activity]) -> Result<(), DeliveryError> {
        let agents = agents.to_vec();
        self.write(move |writer, wanted| writer.store_activity(&agents, wanted)).await
    }

    async fn handle_active(&mut self, agents: &[Activity]) -> Result<(), DeliveryError> {
        self.handle_inactive(agents).await
    }

    async fn terminate(&mut self) {
        let shared = self.0.clone();
        if let Err(error) = blocking(move || shared.close()).await {
            tracing::warn!(%error, "the database was not closed in order; nothing is lost");
        }
    }
}
